"""The bot under load and over a long time: the real bot in its own process, people and Telegram played here.

    python nbs/_bench/bot.py load --checkpoint checkpoints/demo  # 200 chats, with and without batching
    python nbs/_bench/bot.py soak --checkpoint checkpoints/demo  # 20 minutes, 50 people, faults injected
    python nbs/_bench/bot.py virtual  # the same people and faults in half a minute: a clock that skips pauses
    python nbs/_bench/bot.py memory --checkpoint checkpoints/demo  # batches of all sizes: what of it is lost?

Results go to results/: bot_load.csv, bot_load_curve.csv, bot_soak.json, bot_soak_memory.csv, bot_virtual.csv,
bot_memory.csv.
"""

import argparse
import asyncio
import contextlib
import functools
import itertools
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl

import pandas as pd

RESULTS = Path(os.environ.get("BENCH_RESULTS", Path(__file__).parent / "results"))
TOKEN, ME, ADMIN = (
    "123456:Not-A-Real-Token",
    dict(id=666, is_bot=True, first_name="Бот", username="TestBot"),
    1,
)
NO_REPLY, DRIP = object(), 1


class Telegram:
    "A Bot API server on loopback. `fault()` names what befalls the next call: 429, 500, drop, slow, odd."

    def __init__(self, on_message, fault=lambda: None, on_edit=lambda *_: None):
        self.on_message, self.fault, self.on_edit = on_message, fault, on_edit
        self.dropped = set()  # calls that were dropped once: the bot repeats such a call once
        self.updates, self.next_update, self.next_message = [], 1, 1
        self.keys = {}  # what is expected of an update
        self.given = {}  # when the bot got an update
        self.struck = defaultdict(list)  # when a call for a chat failed
        self.came, self.faults = asyncio.Event(), Counter()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1000)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/bot"
        return self

    async def __aexit__(self, *_):
        self.server.close()

    def send(self, **update) -> None:
        "Something happened: the bot will hear of it."
        self.updates.append({"update_id": self.next_update} | update)
        self.next_update += 1
        self.came.set()

    def message(
        self,
        chat: int,
        group: bool = False,
        edited: bool = False,
        message_id: int | None = None,
        robot: bool = False,
        **content,
    ) -> int:
        "Somebody wrote in `chat`; the message's number."
        if message_id is None:
            message_id, self.next_message = self.next_message, self.next_message + 1
        place = (
            dict(id=-chat, type="group", title="Г")
            if group
            else dict(id=chat, type="private", first_name="Ч")
        )
        body = dict(
            message_id=message_id,
            date=int(time.time()),
            chat=place,
            **content,
            **{"from": dict(id=chat + 10**6 * robot, is_bot=robot, first_name="Ч")},
        )
        self.send(
            **{"edited_message": body | dict(edit_date=int(time.time()))} if edited else {"message": body}
        )
        return message_id

    async def serve(self, reader, writer) -> None:
        "One connection."
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1])) if length else b""
                status, answer = await self.call(
                    head.split()[1].decode().rsplit("/", 1)[-1], dict(parse_qsl(body.decode()))
                )
                if answer is NO_REPLY:
                    break
                payload = json.dumps(answer).encode()
                if status == DRIP:  # a byte a second
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                    for _ in range(1000):
                        writer.write(b" ")
                        await writer.drain()
                        await asyncio.sleep(1)
                writer.write(
                    b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                    % (status, len(payload))
                    + payload
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def call(self, name: str, given: dict):
        "Status and answer of one call; faults strike before anything is done."
        call = name, given.get("chat_id"), given.get("text")
        fault = self.fault()
        if fault == "drop" and call in self.dropped:
            fault = None
        if fault == "odd":
            fault = random.choice(["404", "drip"]) if name == "getUpdates" else "429 for 30 s"
        if fault:
            self.faults[fault] += 1
            chat = given.get("chat_id", given.get("callback_query_id"))
            self.struck[chat].append((asyncio.get_running_loop().time(), fault))
            if fault == "404":
                return 404, dict(ok=False, error_code=404, description="Not Found")
            if fault == "drip":
                return DRIP, {}
            if fault == "429 for 30 s":
                return 429, dict(
                    ok=False, error_code=429, description="Too Many Requests", parameters=dict(retry_after=30)
                )
            if fault == "429":
                return 429, dict(
                    ok=False, error_code=429, description="Too Many Requests", parameters=dict(retry_after=1)
                )
            if fault == "500":
                return 500, dict(ok=False, error_code=500, description="Internal Server Error")
            if fault == "drop":
                self.dropped.add(call)
                return 0, NO_REPLY
            await asyncio.sleep(random.uniform(0.5, 3))
        if name == "getMe":
            return 200, dict(ok=True, result=ME)
        if name == "getUpdates":
            return 200, dict(
                ok=True,
                result=await self.get_updates(int(given.get("offset", 0)), float(given.get("timeout", 0))),
            )
        if name == "sendMessage" and not re.fullmatch(r"-?\d{1,18}", given.get("chat_id", "")):
            return 400, dict(ok=False, error_code=400, description="Bad Request: chat not found")
        if name == "sendMessage":
            number, self.next_message = self.next_message, self.next_message + 1
            reply = json.loads(given.get("reply_parameters", "null"))
            keyboard = json.loads(given.get("reply_markup", "null")) or {}
            self.on_message(
                given["chat_id"],
                number,
                given["text"],
                reply and reply.get("message_id"),
                keyboard.get("inline_keyboard", []),
            )
            return 200, dict(
                ok=True,
                result=dict(
                    message_id=number,
                    date=0,
                    text=given["text"],
                    chat=dict(id=int(given["chat_id"]), type="private"),
                ),
            )
        if name == "editMessageText":
            self.on_edit(int(given["message_id"]), given["text"])
            place = dict(id=int(given["chat_id"]), type="private")
            message = dict(message_id=int(given["message_id"]), date=0, text=given["text"], chat=place)
            return 200, dict(ok=True, result=message)
        return 200, dict(ok=True, result=True)

    async def get_updates(self, offset: int, timeout: float) -> list:
        self.updates = [u for u in self.updates if u["update_id"] >= offset]
        if not self.updates:
            self.came.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.came.wait(), timeout)
        for update in self.updates[:100]:
            self.given.setdefault(update["update_id"], asyncio.get_running_loop().time())
        return self.updates[:100]


CHILD = """
from chitchat import bot, serving

class Telling(serving.PerPersonUpdateProcessor):
    "Logs the number of each refused update."
    def __init__(self, refuse):
        async def tell(update, first):
            bot.log.info("refused: %d", update.update_id)
            await refuse(update, first)
        super().__init__(tell)

bot.PerPersonUpdateProcessor = Telling
serving.BatchingQueue.MAX_BATCH, serving.BatchingQueue.TIMEOUT = {max_batch}, {timeout}
bot.run(bot.BotConfig.from_env(**{settings}))
"""


class Bot:
    "The bot as a child process with its log in a file."

    def __init__(self, checkpoint: str, url: str, max_batch: int = 32, timeout: float = 60.0, **settings):
        self.log = Path(tempfile.mkdtemp()) / "log"
        settings |= dict(checkpoint=checkpoint, base_url=url)
        self.code = CHILD.format(max_batch=max_batch, timeout=timeout, settings=settings)

    async def __aenter__(self):
        env = os.environ | {"TELEGRAM_TOKEN": TOKEN, "PYTHONWARNINGS": "default", "OMP_NUM_THREADS": "1"}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", self.code, env=env, stderr=self.log.open("w")
        )
        for _ in range(600):
            if "is listening" in self.text():
                return self
            await asyncio.sleep(0.1)
        raise SystemExit(f"the bot did not start:\n{self.text()}")

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(self.process.wait(), 300)

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def memory(self) -> float:
        "Resident megabytes, where the system has /proc."
        return (
            int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024
        )

    def trouble(self) -> list[str]:
        "Lines of the log that speak of something unhandled."
        return [
            line
            for line in self.text().splitlines()
            if re.search(r" ERROR | CRITICAL |never (retrieved|awaited)|^Traceback|Unclosed", line)
        ]


ODD_TEXTS = [
    "\u202eздравствуй",
    "a\u0300" * 500,
    "да \ud83d",
    "👨‍👩‍👧‍👦" * 300,
    "ы" * 4096,
    "%s%n{0}",
    "<b>да</b>",
    "'; DROP TABLE chats; --",
    "𝕜𝕒𝕜",
    "مرحبا",
    "Ё" * 60,
]


@functools.cache
def all_questions() -> pd.Series:
    from chitchat.files import read_pairs, sample_path

    return read_pairs(sample_path()).question.drop_duplicates()


def questions(n: int, seed: int = 0) -> list[str]:
    return list(all_questions().sample(n, random_state=seed))


class Crowd:
    "People who ask one bot, and check that every question is answered once and in its chat's order."

    def __init__(self, name: str, checkpoint: str, **settings):
        self.name, self.checkpoint, self.settings = name, checkpoint, settings
        self.sent, self.came, self.order = {}, {}, defaultdict(list)
        self.all_came, self.busy = asyncio.Event(), 0.0

    async def __aenter__(self):
        self.telegram = await Telegram(self.on_message).__aenter__()
        self.bot = await Bot(
            self.checkpoint,
            self.telegram.url,
            rate=0,
            timeout=600.0,
            **self.settings,
        ).__aenter__()
        return self

    async def __aexit__(self, *error):
        await self.bot.__aexit__(*error)
        await self.telegram.__aexit__(*error)

    def on_message(self, chat, number, text, reply, keyboard):
        assert reply not in self.came, f"question {reply} was answered twice"
        self.came[reply] = time.perf_counter()
        self.order[chat].append(reply)
        if len(self.came) == len(self.sent):
            self.all_came.set()

    async def ask(self, texts: list[str], chats: int) -> tuple[list[float], list[float]]:
        "Ask all `texts` at once, spread over `chats`: how long each waited, and seconds of work until each."
        self.all_came.clear()
        start, numbers = (
            time.perf_counter(),
            [self.telegram.message(100 + i % chats, text=text) for i, text in enumerate(texts)],
        )
        self.sent |= dict.fromkeys(numbers, start)
        await asyncio.wait_for(self.all_came.wait(), 600)
        assert all(replies == sorted(replies) for replies in self.order.values()), "a chat's order was broken"
        waits, before = [self.came[n] - start for n in numbers], self.busy
        self.busy += time.perf_counter() - start
        return waits, sorted(before + w for w in waits)


async def load(a) -> None:
    rows, curve, texts = [], [], questions(a.questions)
    async with (
        Crowd("one by one", a.checkpoint, max_batch=1) as single,
        Crowd("batches", a.checkpoint, max_batch=a.max_batch) as batched,
    ):
        crowds, waits = [single, batched], defaultdict(list)
        for i, text in enumerate(
            texts[: a.single]
        ):  # both bots are asked in turn, so that whatever else the machine does meets both
            for crowd in crowds[:: (-1) ** i]:
                waits[crowd.name, "one person"] += (await crowd.ask([text], 1))[0]
        for crowd in crowds:
            crowd.busy = 0.0
        each = len(texts) // a.bursts
        for i in range(a.bursts):
            for crowd in crowds[:: (-1) ** i]:
                burst, times = await crowd.ask(texts[i * each : (i + 1) * each], a.chats)
                waits[crowd.name, "many"] += burst
                curve += [
                    dict(bot=crowd.name, answered=i * each + n + 1, seconds=round(t, 3))
                    for n, t in enumerate(times)
                    if n % 20 == 19
                ]
                print(f"burst {i + 1}, {crowd.name}: {crowd.busy:.1f} s of work so far", flush=True)
        problems = single.bot.trouble() + batched.bot.trouble()
    assert not problems, problems
    for (name, case), w in waits.items():
        seconds = next(c.busy for c in crowds if c.name == name) if case == "many" else sum(w)
        rows.append(
            dict(
                bot=name,
                case=case,
                chats=a.chats if case == "many" else 1,
                questions=len(w),
                seconds=seconds,
                per_second=len(w) / seconds,
                p50=pd.Series(w).quantile(0.5),
                p95=pd.Series(w).quantile(0.95),
            )
        )
    table = pd.DataFrame(rows).round(4)
    table.to_csv(RESULTS / "bot_load.csv", index=False)
    pd.DataFrame(curve).to_csv(RESULTS / "bot_load_curve.csv", index=False)
    by = table.set_index(["case", "bot"])
    print(table.to_string(index=False))
    many, one = by.loc["many"].per_second, by.loc["one person"].p50
    print(f"throughput of many: {many['batches'] / many['one by one']:.2f} times")
    print(f"median wait of one person: {one['batches'] / one['one by one']:.2f} times")


class Person:
    "Writes, presses, and knows what should come back."

    def __init__(self, number: int, telegram: Telegram, texts: list[str]):
        self.chat, self.telegram, self.texts = number, telegram, texts
        self.random, self.asked, self.text, self.keyboards = random.Random(number), [], "", []

    def expect(self, expect: Counter, key) -> None:
        "An answer to the latest update is to come."
        expect[key] += 1
        self.telegram.keys[self.telegram.next_update - 1] = key

    def act(self, expect: Counter) -> None:
        "One thing at random; `expect` counts the messages to come, by what they reply to (-chat: nothing)."
        kinds = dict(ask=50, press=20, command=12, odd=8, edit=5, react=5, robot=5, ten=1)
        getattr(self, self.random.choices([*kinds], [*kinds.values()])[0])(expect)

    def ask(self, expect):
        text = self.random.choice(self.texts if self.random.random() < 0.95 else ODD_TEXTS)
        self.asked.append(self.telegram.message(self.chat, text=text))
        self.text = text
        self.expect(expect, self.asked[-1])

    def ten(self, expect):
        for _ in range(10):
            self.ask(expect)

    def edit(self, expect):
        "Another text: the answer is edited."
        if self.asked:
            self.text = self.random.choice([text for text in self.texts if text != self.text])
            self.telegram.message(self.chat, edited=True, message_id=self.asked[-1], text=self.text)
            self.expect(expect, ("edit", self.asked[-1]))

    def react(self, expect):
        "Telegram tells a reaction as an edit without another text."
        if self.asked:
            self.telegram.message(self.chat, edited=True, message_id=self.asked[-1], text=self.text)

    def robot(self, expect):
        text = self.random.choice(["@TestBot привет", "/help"])
        entities = [dict(type="bot_command", offset=0, length=5)] * (text == "/help")
        self.telegram.message(self.chat, robot=True, text=text, entities=entities)

    def command(self, expect):
        text = self.random.choice(
            [
                "/start",
                "/help",
                "/category",
                "/settings",
                "/privacy",
                "/reset",
                "/dance",
                "/stats",
            ]
        )
        self.telegram.message(
            self.chat, text=text, entities=[dict(type="bot_command", offset=0, length=len(text.split()[0]))]
        )
        if text == "/reset":
            self.asked.clear()  # the bot forgets them: an edit is not answered
        self.expect(expect, -self.chat)

    def odd(self, expect):
        thing = dict(file_id="1", file_unique_id="1")
        odd = [
            dict(voice=thing | dict(duration=1)),
            dict(photo=[thing | dict(width=1, height=1)]),
            dict(location=dict(latitude=0, longitude=0)),
            dict(sticker=thing | dict(type="regular", width=1, height=1, is_animated=False, is_video=False)),
        ]
        self.telegram.message(self.chat, **self.random.choice(odd))
        self.expect(expect, -self.chat)

    def press(self, expect):
        if not self.keyboards:
            return self.ask(expect)
        message, keyboard = self.random.choice(self.keyboards)
        reply = message.get("reply_to_message")
        data = self.random.choice([b for row in keyboard for b in row])["callback_data"]
        kind = data.split(":")[0]
        self.telegram.send(
            callback_query=dict(
                id=str(self.chat),
                chat_instance="1",
                data=data,
                message=message,
                **{"from": dict(id=self.chat, is_bot=False, first_name="Ч")},
            )
        )
        if kind in ("more", "categories") or (kind == "category" and reply):
            self.expect(expect, reply["message_id"])


class Talk:
    "What people expect of the bot, and what they got: one message after another."

    def __init__(self, clock):
        self.expect, self.got, self.told = Counter(), Counter(), 0
        self.people, self.about, self.clock = {}, {}, clock
        self.answered = {}  # a question: its chat, and when its first answer came
        self.telegram = Telegram(self.on_message, on_edit=self.on_edit)

    def on_message(self, chat, number, text, reply, keyboard):
        from chitchat.bot import MSG_WAIT

        if text == MSG_WAIT:
            self.told += 1
            return
        self.got[reply or -int(chat)] += 1
        self.answered.setdefault(reply, (chat, asyncio.get_running_loop().time()))
        self.about[number] = reply
        person = self.people[int(chat)]
        if keyboard:
            place = dict(id=person.chat, type="private", first_name="Ч")
            message = dict(message_id=number, date=0, chat=place, text=text, **{"from": ME})
            if reply:
                asked = dict(message_id=reply, date=0, chat=place, text=person.random.choice(person.texts))
                message["reply_to_message"] = asked
            person.keyboards = [*person.keyboards[-5:], (message, keyboard)]

    def on_edit(self, number, text):
        if self.about.get(number) and not text.startswith(("Категория: ", "Эта кнопка устарела")):
            self.got["edit", self.about[number]] += 1

    def fault(self):  # every fifth minute is a bad one: half of all calls fail
        share = 0.5 if int(self.clock() / 60) % 5 == 2 else 0.02
        names, weights = ["429", "500", "drop", "slow", "odd"], [24, 24, 24, 24, 4]
        return random.choices(names, weights)[0] if random.random() < share else None

    async def live(self, people: int, minutes: float, *others) -> None:
        "`people` write for some minutes, among faults."
        self.people |= {n: Person(n, self.telegram, questions(500, n)) for n in range(1, people + 1)}
        self.telegram.fault = self.fault

        async def one(person):
            while self.clock() < minutes * 60:
                await asyncio.sleep(person.random.expovariate(1 / 6))
                person.act(self.expect)

        await asyncio.gather(*others, *map(one, self.people.values()))
        self.telegram.fault = lambda: None
        await asyncio.sleep(60)  # pauses after failures end

    def waits(self) -> dict[str, list]:
        """Answers, and the 50th, 95th and 100th percentile of their waits in seconds.

        A wait is from the update to the first answer. `own`: a call for the chat itself failed since the
        question, or in the minute before the answer; `polling`: getUpdates did, for so long that many
        questions came at once; `others`: another chat had to be silent for 30 s; `nobody`: none of these.
        """
        asked = {key: number for number, key in reversed(self.telegram.keys.items())}
        waits = defaultdict(list)
        for question, (chat, end) in self.answered.items():
            if question not in asked:
                continue
            start = self.telegram.given[asked[question]]
            near = {
                c: [fault for time, fault in times if min(start, end - 60) <= time <= end]
                for c, times in self.telegram.struck.items()
            }
            polling = near.pop(None, [])
            others = any("429 for 30 s" in faults for faults in near.values())
            deaf = "drip" in polling or len(polling) > 9
            kinds = dict(own=near.get(chat), polling=deaf, others=others, nobody=True)
            waits[next(kind for kind, met in kinds.items() if met)].append(end - start)
        percentiles = {k: pd.Series(w).quantile([0.5, 0.95, 1]).round(2) for k, w in waits.items()}
        return {k: [len(waits[k]), *percentiles[k]] for k in sorted(waits)}

    def figures(self, refused: list[int]) -> dict:
        "`refused`: numbers of the updates that came to a full line."
        figures = dict(
            messages_expected=self.expect.total(),
            messages_sent=self.got.total(),
            refused=len(refused),
            told_to_wait=self.told,
        )
        planned, keys = Counter(self.expect), [self.telegram.keys.get(number) for number in refused]
        self.expect.subtract(keys)
        for key in keys:
            if not self.expect[key]:  # a question that was refused: the bot knows no edit of it
                del self.expect["edit", key]
            if isinstance(key, tuple):  # a refused edit: a reaction may have brought its text again
                self.expect[key] = max(self.expect[key], min(self.got[key], planned[key]))
        del self.expect[None]  # of what nobody answers
        missing = {k: self.expect[k] - self.got[k] for k in self.expect | self.got}
        figures |= dict(
            lost=sum(n for n in missing.values() if n > 0),
            sent_twice=-sum(n for n in missing.values() if n < 0),
        )
        return figures | dict(faults=dict(self.telegram.faults), waits=self.waits())


async def soak(a) -> None:
    start, memory = time.time(), []
    talk = Talk(lambda: time.time() - start)
    async with talk.telegram as telegram:
        async with Bot(
            a.checkpoint, telegram.url, admin=ADMIN, state=str(Path(tempfile.mkdtemp()) / "state.sqlite")
        ) as bot:
            async def watch():
                while time.time() - start < a.minutes * 60:
                    memory.append(
                        dict(
                            minute=round((time.time() - start) / 60, 2),
                            megabytes=round(bot.memory(), 2),
                            messages=talk.got.total(),
                        )
                    )
                    await asyncio.sleep(5)

            await talk.live(a.people, a.minutes, watch())
            problems, stopping = bot.trouble(), time.time()
        stopping = time.time() - stopping
        telling = bot.text()
    table = pd.DataFrame(memory)
    table.to_csv(RESULTS / "bot_soak_memory.csv", index=False)
    early, late = (
        table.megabytes[(table.minute >= a.minutes * lo) & (table.minute < a.minutes * hi)].median()
        for lo, hi in ((0.2, 0.3), (0.9, 1))
    )
    result = dict(
        minutes=a.minutes,
        people=a.people,
        **talk.figures([int(number) for number in re.findall(r"refused: (\d+)", telling)]),
        unhandled=len(problems),
        exit_code=bot.process.returncode,
        seconds_to_stop=round(stopping, 1),
        megabytes_early=early,
        megabytes_late=late,
        growth=round(late / early - 1, 4),
        token_in_log=TOKEN.split(":")[1] in telling,
    )
    (RESULTS / "bot_soak.json").write_text(
        json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )
    print(
        json.dumps(result, indent=1),
        *problems[:20],
        telling.splitlines()[-1],
        bot.log,
        sep="\n",
    )


class SkippingLoop(asyncio.SelectorEventLoop):
    "When nobody has anything to do, it is later."
    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0]._when) + 1e-6  # no pause that rounding makes nothing
        super()._run_once()


class AtOnce:
    "An executor without a thread: a clock that skips would not wait for one."

    def submit(self, f, *args) -> Future:
        done = Future()
        done.set_result(f(*args))
        return done


class Numbers:
    "A model that has always another answer."
    categories, numbers = ["Юмор", "Еда"], itertools.count()

    def hypotheses(self, texts, categories, n=1, **decoding):
        return [[SimpleNamespace(text=f"{text} {next(self.numbers)}") for _ in range(n)] for text in texts]

    def config(self, method="greedy", **decoding):
        return SimpleNamespace(method=method)


def virtual(a) -> None:
    import httpx
    from telegram.error import NetworkError, TimedOut
    from telegram.request import BaseRequest

    from chitchat import bot, serving

    class Line(BaseRequest):
        "Calls go to `telegram`, in this process."
        read_timeout = 5.0

        def __init__(self, telegram):
            self.telegram = telegram

        async def initialize(self): ...
        async def shutdown(self): ...

        async def do_request(self, url, method, request_data=None, **timeouts):
            given = request_data.json_parameters if request_data else {}
            status, answer = await self.telegram.call(url.rsplit("/", 1)[-1], given)
            if answer is NO_REPLY:
                raise NetworkError("closed") from httpx.RemoteProtocolError("")
            if status == DRIP:
                await asyncio.sleep(40)
                raise TimedOut
            return status, json.dumps(answer).encode()

    async def one(seed: int) -> dict:
        random.seed(seed)
        talk, refused = Talk(asyncio.get_running_loop().time), []

        class Telling(serving.PerPersonUpdateProcessor):
            def __init__(self, refuse):
                async def tell(update, first):
                    refused.append(update.update_id)
                    await refuse(update, first)

                super().__init__(tell)

        bot.PerPersonUpdateProcessor = Telling
        app = bot.build_app(bot.BotConfig(TOKEN, admin=ADMIN), Numbers(), Line(talk.telegram))
        app.bot_data["queue"].executor = AtOnce()
        async with app:
            await app.start()
            await app.updater.start_polling(timeout=10)
            await talk.live(a.people, a.minutes)
            await app.updater.stop()
            await app.stop()
        return dict(seed=seed, minutes=a.minutes, people=a.people) | talk.figures(refused)

    logging.disable()
    rows = []
    for seed in range(a.seeds):
        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            row = runner.run(one(seed))
        faults, waits = row.pop("faults"), row.pop("waits")
        longest = {f"longest_wait_{whose}": figures[-1] for whose, figures in waits.items()}
        rows.append(row | dict(faults=sum(faults.values())) | longest)
        print(waits)
        print(rows[-1], flush=True)
        pd.DataFrame(rows).to_csv(RESULTS / "bot_virtual.csv", index=False)


BATCHES = """
import ctypes, gc, random, re
from pathlib import Path
from chitchat.decoding import Responder
from chitchat.files import read_pairs, sample_path

def megabytes():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

responder = Responder.from_checkpoint({checkpoint!r})
questions = [*read_pairs(sample_path()).question.unique()]
random.seed(0)
for i in range(1, {batches} + 1):
    responder.answers(random.sample(questions, random.choice([1, 2, 4, 8, 16, 32])))
    if i % 20 == 0:
        print(i, megabytes(), flush=True)
gc.collect()
ctypes.CDLL("libc.so.6").malloc_trim(0)
print("trimmed", megabytes())
"""


def memory(a) -> None:
    "The same batches twice in processes of their own: as it is, and with large blocks given back at once."
    rows = []
    for way, extra in (("as it is", {}), ("given back at once", {"MALLOC_MMAP_THRESHOLD_": "65536"})):
        code = BATCHES.format(checkpoint=a.checkpoint, batches=a.batches)
        run = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | extra,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        rows += [(way, *line.split()) for line in run.stdout.splitlines()]
    table = pd.DataFrame(rows, columns=["malloc", "batches", "megabytes"])
    table.to_csv(RESULTS / "bot_memory.csv", index=False)
    print(table.pivot(index="batches", columns="malloc", values="megabytes"))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(required=True, dest="what")
    for name, run, options in (
        ("load", load, dict(chats=200, questions=2000, bursts=4, single=60, max_batch=32)),
        ("soak", soak, dict(people=50, minutes=20.0)),
        ("virtual", virtual, dict(people=50, minutes=20.0, seeds=3)),
        ("memory", memory, dict(batches=400)),
    ):
        one = sub.add_parser(name)
        if name != "virtual":
            one.add_argument("--checkpoint", required=True)
        for option, default in options.items():
            one.add_argument(f"--{option}", type=type(default), default=default)
        one.set_defaults(run=run)
    a = p.parse_args()
    RESULTS.mkdir(exist_ok=True)
    result = a.run(a)
    if asyncio.iscoroutine(result):
        asyncio.run(result)


if __name__ == "__main__":
    main()
