"""What a finished rollout is worth: one grader for reward and evaluation, and the reward terms."""
