"""A box's process starts here. Frames leave on a private copy of fd 1 before any other code can print to it."""

from eureka_sandbox.worker.emit import Emitter

if __name__ == "__main__":
    emit = Emitter.take_stdout()

    import sys

    from eureka_sandbox.worker.main import main

    sys.exit(main(sys.argv[1:], emit))
