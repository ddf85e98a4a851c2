// SPDX-License-Identifier: Apache-2.0
// The actions `pick` and `resolve` as nodes of BehaviorTree.CPP 4, and a program that runs pick.xml with them:
//
//   pick_tree pick.xml "put the chick on the tray" "the ribbon one"
//
// For a package of yours that depends on behaviortree_ros2 (with its pull request 79 of October 2025: before it, a node
// does not see the result of an aborted action, and so neither the status nor the question of a refusal), geometry_msgs
// and spatial_vlm_interfaces. A halted node cancels its goal, which also stops a moving arm. plan_only is true unless the
// tree says otherwise; with false, a person approves each plan before anything moves.

#include <csignal>
#include <optional>
#include <string>

#include <behaviortree_cpp/bt_factory.h>
#include <behaviortree_ros2/bt_action_node.hpp>
#include <geometry_msgs/msg/pose_stamped.hpp>
#include <rclcpp/rclcpp.hpp>
#include <spatial_vlm_interfaces/action/pick_instruction.hpp>
#include <spatial_vlm_interfaces/action/resolve_instruction.hpp>

using Pick = spatial_vlm_interfaces::action::PickInstruction;
using Resolve = spatial_vlm_interfaces::action::ResolveInstruction;
using Answer = spatial_vlm_interfaces::msg::Resolution;

// What both actions have: words in, an answer or a question out.
template <class ActionT>
class Instruction : public BT::RosActionNode<ActionT>
{
public:
  using Base = BT::RosActionNode<ActionT>;
  using Base::Base;

  static BT::PortsList ports(BT::PortsList more)
  {
    more.merge(BT::PortsList{
        BT::InputPort<std::string>("instruction"), BT::InputPort<std::string>("frame_of_reference", "", ""),
        BT::InputPort<std::string>("answers", "", "dialogue_id of the question that it answers"),
        BT::OutputPort<bool>("asked"), BT::OutputPort<std::string>("question"), BT::OutputPort<std::string>("dialogue_id"),
        BT::OutputPort<std::string>("status"), BT::OutputPort<std::string>("message") });
    return Base::providedBasicPorts(more);
  }

  bool setGoal(typename Base::Goal& goal) override
  {
    if(!this->getInput("instruction", goal.instruction))
    {
      return false;
    }
    this->getInput("frame_of_reference", goal.frame_of_reference);
    this->getInput("answers", goal.dialogue_id);
    note("", "", Answer());
    return true;
  }

  BT::NodeStatus onResultReceived(const typename Base::WrappedResult& ended) override
  {
    take(*ended.result);
    return BT::NodeStatus::SUCCESS;
  }

  BT::NodeStatus onFailure(BT::ActionNodeErrorCode error, const std::optional<typename Base::WrappedResult>& ended) override
  {
    if(ended && ended->result)
    {
      take(*ended->result);
      return BT::NodeStatus::FAILURE;
    }
    return onFailure(error);
  }

  BT::NodeStatus onFailure(BT::ActionNodeErrorCode error) override
  {
    if(error != BT::INVALID_GOAL)  // nothing to say, nothing asked: what was heard before stays
    {
      note("", std::string(BT::toStr(error)) + " (" + this->action_name_ + ")", Answer());
    }
    return BT::NodeStatus::FAILURE;
  }

protected:
  virtual void take(const typename ActionT::Result& result) = 0;

  void note(const std::string& status, const std::string& message, const Answer& answer)
  {
    this->setOutput("status", status);
    this->setOutput("message", message);
    this->setOutput("asked", !answer.question.empty());
    this->setOutput("question", answer.question);
    this->setOutput("dialogue_id", answer.dialogue_id);
  }
};

class PickInstruction : public Instruction<Pick>
{
public:
  using Instruction::Instruction;

  static BT::PortsList providedPorts()
  {
    return ports({ BT::InputPort<bool>("plan_only", true, "plan, and move nothing"), BT::OutputPort<bool>("moved") });
  }

  bool setGoal(Goal& goal) override
  {
    goal.plan_only = true;
    return Instruction::setGoal(goal) && getInput("plan_only", goal.plan_only);
  }

private:
  void take(const Pick::Result& result) override
  {
    note(result.status.name, result.status.message, result.resolution);
    setOutput("moved", result.moved);
  }
};

class ResolveInstruction : public Instruction<Resolve>
{
public:
  using Instruction::Instruction;

  static BT::PortsList providedPorts()
  {
    return ports({ BT::OutputPort<geometry_msgs::msg::PoseStamped>("pose") });
  }

private:
  void take(const Resolve::Result& result) override
  {
    const auto& answer = result.resolution;
    note(answer.status.name, answer.status.message, answer);
    if(!answer.target.empty())  // a refusal has none, and a question to the robot neither
    {
      geometry_msgs::msg::PoseStamped pose;
      pose.header = answer.header;
      pose.pose = answer.target.front().pose.pose;
      setOutput("pose", pose);
    }
  }
};

namespace
{
volatile std::sig_atomic_t pressed = 0;
}

int main(int argc, char** argv)
{
  // Ctrl-C has to leave time to cancel the goal, so rclcpp does not handle it.
  rclcpp::init(argc, argv, rclcpp::InitOptions(), rclcpp::SignalHandlerOptions::None);
  std::signal(SIGINT, [](int) { pressed = 1; });
  const auto words = rclcpp::remove_ros_arguments(argc, argv);
  if(words.size() < 3)
  {
    RCLCPP_ERROR(rclcpp::get_logger("pick_tree"), "usage: pick_tree pick.xml INSTRUCTION [ANSWER]");
    return 2;
  }
  auto node = std::make_shared<rclcpp::Node>("pick_tree");  // the nodes of the tree keep no reference to it
  BT::RosNodeParams params;
  params.nh = node;
  BT::BehaviorTreeFactory factory;
  factory.registerNodeType<PickInstruction>("PickInstruction", params);
  factory.registerNodeType<ResolveInstruction>("ResolveInstruction", params);
  auto board = BT::Blackboard::create();
  board->set("instruction", words[2]);
  if(words.size() > 3)
  {
    board->set("answer", words[3]);
  }
  board->set("plan_only", true);
  auto tree = factory.createTreeFromFile(words[1], board);
  auto status = BT::NodeStatus::RUNNING;
  while(status == BT::NodeStatus::RUNNING && !pressed)
  {
    status = tree.tickExactlyOnce();
    tree.sleep(std::chrono::milliseconds(100));
  }
  tree.haltTree();
  std::string message, question;
  if(board->get("message", message) && board->get("question", question))
  {
    const bool open = status != BT::NodeStatus::SUCCESS;
    RCLCPP_INFO(node->get_logger(), "%s %s", message.c_str(), open ? question.c_str() : "");
  }
  rclcpp::shutdown();
  return status == BT::NodeStatus::SUCCESS ? 0 : 3;
}
