"""Power, clocks, temperatures and throttling of this machine while something runs."""
