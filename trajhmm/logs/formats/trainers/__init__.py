"""What trainers write as text: each file reads the logs of one, or of some that are alike."""
