"""A corpus of hostile and broken rewards, and the suite that runs it against a sandbox. None of it runs on the host."""

from eureka_sandbox.hostile.corpus import Case as Case
from eureka_sandbox.hostile.corpus import load_corpus as load_corpus
from eureka_sandbox.hostile.suite import Finding as Finding
from eureka_sandbox.hostile.suite import Report as Report
from eureka_sandbox.hostile.suite import run_suite as run_suite
