"""The agent: what runs on the device. It is sent over ssh with each request, and nothing of it stays there.

It needs Python 3.6, so that a device with an old one can be told what it lacks, and the standard library
only. Its modules import each other and nothing else of this project; ``edgestill.remote.agent_source`` sends
them in the order of ``MODULES``.
"""
