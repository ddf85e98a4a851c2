// SPDX-License-Identifier: Apache-2.0
// An operator's signed answer to a plan (docs/approval.md), for a node of a tree that calls the service `approve`: in
// setRequest() of a BT::RosServiceNode<spatial_vlm_interfaces::srv::Approve>, with the newest message of `proposal`,
//
//   sign_answer(*request, proposal, "ann", "ann.pem", true);
//
// Needs OpenSSL 1.1.1 or newer (libcrypto).

#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

#include <openssl/evp.h>
#include <openssl/pem.h>

inline std::string netstring(const std::string& text)
{
  return std::to_string(text.size()) + ":" + text + ",";
}

template <class TimeT>
std::string nanoseconds(const TimeT& time)
{
  return std::to_string(std::int64_t(time.sec) * 1000000000 + time.nanosec);
}

template <class ProposalT>
std::string signed_form(const ProposalT& plan, const std::string& name, bool approve, const std::string& reason)
{
  std::string form, steps;
  for(const auto& step : plan.steps)
  {
    steps += netstring(step);
  }
  for(const auto& part : { std::string("spatial_vlm_ros approval 1"), std::string(plan.goal_id), nanoseconds(plan.scene_stamp),
                           std::string(plan.plan_hash), std::string(plan.nonce), nanoseconds(plan.valid_for),
                           std::string(plan.instruction), std::string(plan.motion), steps,
                           std::string(approve ? "approve" : "reject"), name, reason })
  {
    form += netstring(part);
  }
  return form;
}

template <class RequestT, class ProposalT>
void sign_answer(RequestT& request, const ProposalT& plan, const std::string& name, const std::string& key_file, bool approve,
                 const std::string& reason = "")
{
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(key_file.c_str(), "rb"), std::fclose);
  const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(
      file ? PEM_read_PrivateKey(file.get(), nullptr, nullptr, nullptr) : nullptr, EVP_PKEY_free);
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  const auto form = signed_form(plan, name, approve, reason);
  std::size_t size = request.signature.size();  // 64
  if(!key || EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) != 1 ||
     EVP_DigestSign(context.get(), request.signature.data(), &size, reinterpret_cast<const unsigned char*>(form.data()),
                    form.size()) != 1 ||
     size != request.signature.size())
  {
    throw std::runtime_error(key_file + ": no Ed25519 key; make one with spatial-vlm enrol");
  }
  request.goal_id = plan.goal_id;
  request.scene_stamp = plan.scene_stamp;
  request.plan_hash = plan.plan_hash;
  request.approve = approve;
  request.decided_by = name;
  request.reason = reason;
}
