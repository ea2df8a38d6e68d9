"""The objects of a rendered street, except its traffic lights."""
