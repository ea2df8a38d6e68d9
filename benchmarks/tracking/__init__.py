"""Quality of tracking and of the states of lights, on clips with true boxes, identities and states."""
