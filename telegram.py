"""The Telegram bot: `TELEGRAM_TOKEN=... python telegram.py --checkpoint FOLDER`.

This file has the name of the library that it uses, and whenever the repository's root is on
Python's path, `import telegram` finds this file first. So the file asks under which name it runs:
as `__main__` it is the bot, as `telegram` it hands over to the library.
"""
import argparse
import os
import signal
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec


def step_aside() -> None:
    "Put the library where `import telegram` looks: the first `telegram` on the path that is a package."
    for folder in sys.path:
        spec = PathFinder.find_spec("telegram", [folder])
        if spec and spec.loader and spec.origin and spec.submodule_search_locations:
            # neither a script of that name, of this or of another checkout, nor an empty folder
            sys.modules["telegram"] = module_from_spec(spec)
            spec.loader.exec_module(sys.modules["telegram"])
            return
    raise ModuleNotFoundError("the library python-telegram-bot is not installed: "
                              'pip install "python-telegram-bot[rate-limiter,webhooks]"', name="telegram")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="telegram.py", description="Serve a trained checkpoint as a Telegram bot.",
        epilog="The token of the bot, from @BotFather, is read from the environment variable TELEGRAM_TOKEN, "
               "or from the file that TELEGRAM_TOKEN_FILE names.")
    add = parser.add_argument
    add("--checkpoint", metavar="FOLDER", help="folder written by chitchat_train")
    add("--state", metavar="FILE", help="file for what chats have chosen, and for marks: FILE.marks.csv "
                                         "(default: FOLDER.bot.sqlite)")
    add("--base_url", metavar="URL", help="a Bot API server of your own (default: Telegram's)")
    add("--webhook", metavar="URL", help="public https address for Telegram to call (default: the bot asks)")
    add("--listen", metavar="HOST:PORT", help="where calls to that address arrive (default: 127.0.0.1:8443)")
    add("--admin", metavar="ID", type=int, help="Telegram id of the person who may ask for /stats")
    add("--name", help="in a group «NAME, how are you?» speaks to the bot (default: Бот)")
    add("--clean", choices=("groups", "always", "never"),
        help="where obscene answers are held back, unless a chat chooses otherwise (default: groups)")
    add("--rate", metavar="N", type=int,
        help="messages a second that Telegram takes, 0 = any number (default: 30)")
    add("--log_texts", action="store_true", help="log questions and answers (default: neither)")
    add("--version", action="store_true", help="show the versions and stop")
    args = parser.parse_args(argv)
    if not (args.checkpoint or args.version):
        parser.error("--checkpoint FOLDER is needed")
    if args.checkpoint and args.state is None:
        args.state = f"{args.checkpoint.rstrip('/')}.bot.sqlite"
    return args


def fail(message: object) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)  # before the imports that take seconds: --help answers at once
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # while loading, also as process 1 of a container
    try:
        if args.version:
            import chitchat
            import telegram
            print(f"chitchat {chitchat.__version__}, python-telegram-bot {telegram.__version__}")
            return 0
        from chitchat.bot import BotConfig, ChitchatError, run
    except ModuleNotFoundError as error:
        if error.name != "telegram":
            raise
        return fail(error)
    try:
        given = {k: v for k, v in vars(args).items() if k != "version" and v is not None}
        run(BotConfig.from_env(**given))
        return 0
    except ChitchatError as error:  # its text says what is wrong and what to do
        return fail(error)
    except KeyboardInterrupt:  # while the model was being loaded
        return 130


if __name__ == "telegram":
    step_aside()
elif __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # at once, also if the model never returns
