"""What a measurement consists of: frames, samples, cold starts, and the conditions of the machine."""
