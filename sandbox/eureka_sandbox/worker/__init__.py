"""What runs inside a box: simulation, reward and task code, training, scoring. Nothing outside imports this package.

`python -m eureka_sandbox.worker JOBDIR` reads `job.json` and answers with frames on stdout (`protocol.FrameKind`).
"""
