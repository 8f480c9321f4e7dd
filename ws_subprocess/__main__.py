"""`python -m ws_subprocess`: the same program as `ws-subprocess`."""

from ws_subprocess.cli.main import main

if __name__ == "__main__":
    main()
