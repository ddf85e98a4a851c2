// SPDX-License-Identifier: Apache-2.0
// Signs one answer as a tree in C++ does, with structures in place of those of rosidl; prints the signature.

#include <array>
#include <iostream>
#include <vector>
#include "sign_answer.hpp"
struct Time { int sec; unsigned nanosec; };
struct Plan { std::string goal_id; Time scene_stamp; std::string plan_hash, instruction, motion;
              std::vector<std::string> steps; Time valid_for; std::string nonce; };
struct Request { std::string goal_id; Time scene_stamp; std::string plan_hash; bool approve;
                 std::string decided_by, reason; std::array<std::uint8_t, 64> signature; };
int main(int, char** words) {
  Request request;
  const Plan plan{ "g", { 1, 2 }, "h", "thé cup", "m", { "take: it", "place" }, { 60, 0 }, "n" };
  sign_answer(request, plan, "Ann", words[1], false, "no");
  for(int each : request.signature) std::cout << each << " ";
}
