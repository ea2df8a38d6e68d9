"""What a rendered street consists of, except its traffic lights."""
