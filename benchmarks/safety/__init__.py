"""What a detector of traffic lights gets dangerously wrong: red seen as green, missed reds, flicker."""
