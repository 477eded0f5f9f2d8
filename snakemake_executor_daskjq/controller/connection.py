"""One Snakemake at its controller: what it says, and what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import traceback
from typing import TYPE_CHECKING

from ..errors import DaskjqError, defect
from ..frames import Decoder, Frame, encode
from . import protocol
from .door import runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.outcome import Outcome
    from ..model.request import Request
    from .process import Server

READ_BYTES = 2**18

LOOK_S = 2.0
"""How often it is looked whether Snakemake is there, where the kernel can't tell."""

MOST_ENDS = 500
"""So many ends at most go into one message, for each may bring the last lines of a log."""

GATHER_S = 0.01
"""After ends have been told, further ones are gathered for so long: each message wakes Snakemake's process."""

FLUSH_S = 5.0
"""So long the last words wait for a Snakemake that does not listen."""


class Speaker:
    """What Snakemake hears (a `driver.Reporter`). Never waits for it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._ends: list[protocol.Ended] = []
        self._ends_from = 0.0  # in the loop's time: when the next ends may be sent

    def job_ended(self, request: Request, outcome: Outcome, pilot: str) -> None:
        if not self._ends:  # what ends within one turn of the loop, or soon after others, is one message
            loop = asyncio.get_running_loop()
            loop.call_at(max(self._ends_from, loop.time()), self._send_ends)
        self._ends.append(protocol.Ended(request.key, pilot, outcome))

    def tell(self, text: str) -> None:
        self.send(protocol.text_frame("tell", text))

    def warn(self, text: str) -> None:
        self.send(protocol.text_frame("warn", text))

    def give_up(self, error: DaskjqError) -> None:
        self.send(protocol.text_frame("give_up", str(error)))

    def send(self, frame: Frame) -> None:
        self._send_ends()
        self._writer.write(encode(frame))

    def _send_ends(self) -> None:
        while self._ends:
            ends, self._ends = self._ends[:MOST_ENDS], self._ends[MOST_ENDS:]
            self._writer.write(encode(protocol.ends_frame(ends)))
            self._ends_from = asyncio.get_running_loop().time() + GATHER_S

    async def close(self) -> None:
        """Send what is left."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), FLUSH_S)


class Connection:
    """One Snakemake: its messages come in order, and what has to be told goes back."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.speaker = Speaker(writer)
        self.number = 0  # of its run; 0 before it has one
        self.keep_s = 0.0
        self.has_begun = False
        self.is_owner = False  # it has started a controller for others
        self._server = server
        self._reader = reader
        self._writer = writer
        self._messages: asyncio.Queue[Frame] = asyncio.Queue()

    async def serve(self, pid: int) -> None:
        """Return when its run is over. `pid` is Snakemake's."""
        forget = when_process_ends(pid, self._writer.transport.abort)
        listening = asyncio.create_task(self._listen())
        try:
            last = await self._last_message()
            if last["op"] == "shut_down":
                await self._server.shut_down()
            elif last["op"] == "stop" or not self._server.leave_run(self):
                stopped = await self._server.run_ends(self, cancel=last.get("cancel", True))
                self.speaker.send(protocol.stopped_frame(stopped))
        finally:
            listening.cancel()
            forget()
        await self.speaker.close()

    async def _listen(self) -> None:
        """Answer pings at once, whatever else takes its time, up to the end of the stream: Snakemake is gone."""
        decoder = Decoder()
        try:
            while data := await self._reader.read(READ_BYTES):
                for frame in decoder.feed(data):
                    match frame["op"]:
                        case "ping":
                            self.speaker.send({"op": "pong"})
                            continue
                        case "open":
                            self._server.configure(frame)
                        case "begin":
                            await self._server.start_spare(protocol.read_begin(frame))
                        case "end_all":
                            self._server.insist(self)
                    self._messages.put_nowait(frame)
        except ConnectionError:
            pass
        except Exception:  # whatever it is: nobody hears of Snakemake's end any more
            traceback.print_exc()
        finally:
            self._messages.put_nowait({"op": "lost"})

    async def _last_message(self) -> Frame:
        """Do what Snakemake says up to its last word, which may be that it has died (`lost`)."""
        while (message := await self._messages.get())["op"] not in ("stop", "shut_down", "lost"):
            try:
                await self._handle(message)
            except DaskjqError as error:
                self.speaker.give_up(error)
            except Exception as error:  # a defect: this run can't go on, and others can
                traceback.print_exc()
                self.speaker.give_up(defect(error))
        return message

    async def _handle(self, message: Frame) -> None:
        match message["op"]:
            case "open":
                await self._server.open(self)
            case "attach":
                self._server.attach(self, message)
            case "ask_left":
                self.speaker.send(protocol.left_frame(self._server.left_jobs(message["base"])))
            case "ask_config":
                self.speaker.send(self._server.config_frame())
            case "ask_status":
                self.speaker.send(protocol.status_frame(self._server.status()))
            case "begin" if self.number:  # else it has failed already
                await self._server.begin(self, protocol.read_begin(message))
        service, number = self._server.service, self.number
        if service is None or not self.has_begun:  # what follows on a run that could not begin
            return
        match message["op"]:
            case "learn":
                service.learn(number, protocol.read_learn(message))
            case "jobs":
                service.submit(number, protocol.read_jobs(message, number))
            case "unstarted":
                service.unstarted(*protocol.read_unstarted(message, number))
            case "withdraw":
                service.withdraw(number)
            case "reported":
                service.reported(number, protocol.read_reported(message))


def when_process_ends(pid: int, call: Callable[[], object]) -> Callable[[], None]:
    """A fork of Snakemake may hold its end of the socket open when Snakemake itself is gone.

    Returns what ends the watch.
    """
    loop = asyncio.get_running_loop()
    watch = contextlib.ExitStack()
    try:
        watched = os.pidfd_open(pid)
    except (AttributeError, OSError):  # a Python that was built without it, an old kernel, or it has ended

        def look() -> None:
            if runs(pid):
                timer = loop.call_later(LOOK_S, look)
                watch.pop_all()
                watch.callback(timer.cancel)
            else:
                call()

        look()
        return watch.close

    def ended() -> None:
        watch.close()
        call()

    watch.callback(os.close, watched)
    watch.callback(loop.remove_reader, watched)
    loop.add_reader(watched, ended)
    return watch.close
