# The same commands as the Makefile has, for who types `just`.

check:
    make check

test:
    make test

ci:
    make ci

# Kill, and fail, publishing at every system call.
crash:
    make crash
