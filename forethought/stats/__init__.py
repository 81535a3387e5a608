"""What a set of episodes amounts to: metrics, bootstrap intervals, summaries. Pure and seeded."""
