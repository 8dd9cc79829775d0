"""`eureka review`: who is answered, with what, and what becomes of what they say."""

from __future__ import annotations

import html
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from people_cases import authored, opinion, review, reward, scripted_run
from provider_cases import FakeBroker, asking, paid_run, request

from eureka_agent.cli import main
from eureka_agent.errors import RunError
from eureka_agent.population import Score
from eureka_agent.review import server as servers
from eureka_agent.review.record import Review
from eureka_agent.review.server import serving
from eureka_agent.runs import progress
from eureka_agent.runs.inbox import Pause, Reviewed, letters
from eureka_agent.runs.run import Run
from eureka_agent.terminal.board import Board, Row, board_of
from eureka_sandbox.backends import BACKENDS
from eureka_sandbox.protocol import Progress


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one generation."""
    root = tmp_path_factory.mktemp("served")
    with scripted_run(root, generations=1) as run:
        authored(run)
    return root / "run"


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with serving(folder) as address:
        yield address


def ask(
    url: str, path: str = "", body: bytes | None = None, method: str | None = None, **headers: str | None
) -> tuple[int, str, dict[str, str]]:
    """(status, body, headers) of a request as a browser would send it; `None` leaves a header out."""
    _, _, host, token, _ = url.split("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    usual: dict[str, str | None] = {"Host": host, "Origin": f"http://{host}" if body is not None else None}
    usual["Content-Type"] = "application/json" if body is not None else None
    usual |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(method or ("GET" if body is None else "POST"), f"/{token}/{path}", skip_host=True)
    if body is not None and "Content-Length" not in usual:
        usual["Content-Length"] = str(len(body))
    for name, value in usual.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    try:
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


def test_the_page_is_the_report_and_may_speak_with_its_server_only(url: str) -> None:
    status, page, headers = ask(url)
    assert status == 200
    assert "connect-src 'self'" in html.unescape(page)
    assert "unsafe" not in page.split("</head>")[0].split("<style>")[0]
    assert 'id="live"' in page
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": None}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
    ],
)
def test_a_request_that_another_site_sent_is_refused(url: str, headers: dict[str, str | None], status: int) -> None:
    assert ask(url, **headers)[0] == status
    assert ask(url, "message", b'{"kind": "pause"}', **headers)[0] == status


def test_a_link_that_a_person_follows_opens_the_page_and_sends_nothing(url: str) -> None:
    followed = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert ask(url, **followed)[0] == 200
    assert ask(url, "message", b'{"kind": "pause"}', **followed)[0] == 403
    status, said, _ = ask(url, Host="localhost:1")
    assert (status, url.split("/")[2] in said) == (421, True)


def test_without_the_token_nothing_is_there(url: str, folder: Path) -> None:
    base, token = url.rsplit("/", 2)[:2]
    for wrong in ("", token[:-1], token + "x", "x" * len(token)):
        assert ask(f"{base}/{wrong}/")[0] == 404
        assert ask(f"{base}/{wrong}/", "message", b'{"kind": "pause"}')[0] == 404
    for path in ("report.html", "../run.db", "%2e%2e/run.db", "events/", "x"):
        assert ask(url, path)[0] == 404
    assert letters(folder)[0] == []


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("message", b'{"kind": "pause"}', {"Origin": None}, 403),
        ("message", b'{"kind": "pause"}', {"Content_Type": "text/plain"}, 403),
        ("message", b'{"kind": "pause"}', {"Content_Type": "application/x-www-form-urlencoded"}, 403),
        ("message", b"x", {"Content_Length": "99999999999999999999"}, 413),
        ("message", b"x", {"Content_Length": "-1"}, 411),
        ("message", b"x", {"Content_Length": "2000001"}, 413),
        ("message", b'{"kind": "rm"}', {}, 400),
        ("review", b"{}", {}, 400),
        ("", b"{}", {}, 404),
    ],
)
def test_what_is_not_a_message_of_our_page_is_refused(
    url: str, folder: Path, path: str, body: bytes, headers: dict[str, str | None], status: int
) -> None:
    assert ask(url, path, body, **headers)[0] == status
    assert letters(folder)[0] == []


def test_other_methods_are_not_known(url: str) -> None:
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
        assert ask(url, method=method)[0] == 501


def test_a_review_goes_into_the_inbox_or_says_why_not(url: str, folder: Path) -> None:
    with Run.open(folder, read_only=True) as run:
        good = review(run, opinion(run, "g0c0", verdict="reject", comment="<b>too low</b>"))
    wrong = good.model_copy(update={"run": "0" * 32})
    status, said, _ = ask(url, "review", wrong.model_dump_json().encode())
    assert (status, "of another run" in said) == (400, True)
    status, said, headers = ask(url, "review", good.model_dump_json().encode())
    assert status == 200
    assert "1 rejected (g0c0), 1 comment" in said
    assert "when the search is resumed" in said
    assert headers["Content-Type"].startswith("text/plain")
    found = letters(folder)[0]
    assert [letter.message for letter in found] == [Reviewed(review=Review.model_validate(good.model_dump()))]
    assert ask(url, "message", b'{"kind": "pause"}')[0] == 200
    assert letters(folder)[0][-1].message == Pause()
    for letter in letters(folder)[0]:
        (folder / "inbox" / letter.name).unlink()


def test_the_page_is_drawn_again_for_a_film_that_came_after_the_last_candidate(tmp_path: Path) -> None:
    """As films do between two generations, and where people's preference is waited for."""
    with scripted_run(tmp_path, generations=1) as run:
        authored(run)
    with serving(tmp_path / "run") as url:
        before = ask(url)[1]
        assert ask(url)[1] == before
        with Run.open(tmp_path / "run") as run:
            score = run.score("g0c0")
            assert isinstance(score, Score)
            run.save_score("film/0", score)
        assert ask(url)[1] != before


def test_news_are_told_as_they_come(url: str, folder: Path) -> None:
    _, _, host, token, _ = url.split("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request("GET", f"/{token}/events", headers={"Host": host})
    stream = connection.getresponse()
    assert stream.headers["Content-Type"] == "text/event-stream"

    def news() -> dict[str, object]:
        for line in iter(stream.readline, b""):
            if line.startswith(b"data: "):
                return dict(json.loads(line[6:]))
        raise AssertionError("the stream has ended")

    first = news()
    assert first["running"] is False
    assert first["candidates"] == ["g0c0", "g0c1"]
    with Run.open(folder):  # a writer is there
        assert news()["running"] is True
    assert news()["running"] is False
    connection.close()


def test_it_listens_on_this_machine_only_and_not_at_all_once_it_ends(folder: Path) -> None:
    with serving(folder) as url:
        host, port = url.split("/")[2].split(":")
        assert host == "127.0.0.1"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", int(port)), timeout=5)  # this machine by another address
        with pytest.raises(RunError, match=f":{port}: .*--port"), serving(folder, int(port)):
            pass
    with pytest.raises(ConnectionRefusedError):
        ask(url)


def test_more_connections_than_there_is_room_for_are_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "MOST_CONNECTIONS", 2)
    with serving(folder) as url:
        address = ("127.0.0.1", int(url.split("/")[2].split(":")[1]))
        idle = [socket.create_connection(address) for _ in range(2)]
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            ask(url)
        for connection in idle:
            connection.close()


def test_an_interrupt_ends_it_at_once_and_cleanly(folder: Path) -> None:
    command = [sys.executable, "-m", "eureka_agent", "review", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert ask(url, "nothing")[0] == 404
    os.kill(process.pid, signal.SIGINT)
    _, complaints = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in complaints
    assert "no longer served" in complaints


def test_a_live_search_serves_its_page_while_it_runs_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(BACKENDS, "embedded", "eureka_sandbox.backends.scripted:ScriptedSandbox")
    asked: list[int] = []
    (tmp_path / "mine.py").write_text(reward("mine", 8.0))

    def look(run: object, *_: object) -> None:
        url = capsys.readouterr().err.rpartition("secret address: ")[2].split()[0]
        asked.append(ask(url)[0])
        said.append(url)

    said: list[str] = []
    monkeypatch.setattr("eureka_agent.search.searching.search", look)
    tiny = ["-p", "2", "-g", "1", "--timesteps", "100", "--final-seeds", "1", "-j", "1", "-o", "run"]
    assert main(["evolve", "hopper_forward", *tiny, "--live", "--seed-reward", "mine.py"]) == 0
    assert asked == [200]
    with pytest.raises(ConnectionRefusedError):
        ask(said[0])
    assert progress.read(tmp_path / "run") is not None
    with Run.open(tmp_path / "run", read_only=True) as run:
        assert run.settings.seed_rewards == (reward("mine", 8.0),)
    page = html.unescape((tmp_path / "run" / "report.html").read_text())
    assert f"--seed-reward {tmp_path}/run/candidates/g0c0/reward.py" in page


# ------------------------------------------------------------------------------------------------------------ progress


def test_of_very_many_trainings_those_under_way_are_told_with_whole_curves(tmp_path: Path) -> None:
    board = Board(task="t", unit="m", generations=1, trainings=1000, timesteps=1000, generation=1)
    board.rows = {f"g0c{i}": Row(f"g0c{i}", "sample", "done", fitness=1.0) for i in range(1000)}
    keeper = progress._Keeper(board, tmp_path / progress.FILE)
    running = [f"g0c{i}" for i in range(100, 100 + progress.MOST_ROWS)]
    for step in range(1, progress.MOST_POINTS + 1):
        for name in running:
            made = Progress(timesteps=step, total_timesteps=1000, steps_per_second=1.0, episode_return=step / 3)
            board.progressed(name, "training", made)
        keeper.look()
    now = progress.read(tmp_path)
    assert now is not None, "it is within the bounds of what is read"
    assert [line.name for line in now.rows] == running
    assert {len(line.curve) for line in now.rows} == {progress.MOST_POINTS}


def test_the_live_head_and_the_headline_tell_what_language_models_have_cost(tmp_path: Path) -> None:
    with paid_run(tmp_path / "run", max_cost=5.0) as run:
        board = board_of(run)
        keeper = progress._Keeper(board, run.folder / progress.FILE)

        def head() -> str:
            keeper.look()
            now = progress.read(run.folder)
            assert now is not None
            return now.head

        assert "language models" not in head()
        assert "$" not in board.headline
        asking(run, FakeBroker()).complete(request("g0c0"))
        board.generation_begins(0, [])
        assert head().endswith(", language models: 1 call, 120 tokens, $0.0003 of $5.00")
        assert " · 1 call, 120 tokens, $0.0003 of $5.00 · " in board.headline
        asking(run, FakeBroker()).complete(request("g0c1"))
        board.waits("waiting for something")
        assert head().endswith(", waiting for something, language models: 2 calls, 240 tokens, $0.0006 of $5.00")
    with Run.open(tmp_path / "run", read_only=True) as run:
        assert board_of(run).spend == board.spend, "a sitting begins with what the earlier ones have cost"


def test_progress_is_told_in_a_small_file_with_nothing_hidden(tmp_path: Path) -> None:
    board = Board(task="t", unit="m", generations=3, trainings=4, timesteps=1000, generation=1)
    board.rows = {"g0c0": Row("g0c0", "sample"), "g0c1": Row("g0c1", "sample", "failed", trouble="bad \u202eline")}
    board.said.append("sandbox\x1b[31m: none")
    keeper = progress._Keeper(board, tmp_path / progress.FILE)
    for step in range(1, 400):
        board.progressed(
            "g0c0",
            "training",
            Progress(timesteps=step, total_timesteps=1000, steps_per_second=2000.0, episode_return=step / 2),
        )
        keeper.look()
    now = progress.read(tmp_path)
    assert now is not None
    first, second = now.rows
    assert (first.state, first.share, first.own_return, first.speed) == ("training", 0.399, "200", "2k")
    assert len(first.curve) <= progress.MOST_POINTS
    assert (first.curve[0], first.curve[-1]) == ((1.0, 0.5), (399.0, 199.5))
    assert list(first.curve) == sorted(first.curve)
    assert second.trouble == "bad ⟨U+202E⟩line"
    assert now.log == ("sandbox⟨U+001B⟩[31m: none",)
    assert (tmp_path / progress.FILE).stat().st_size < 10_000
    (tmp_path / progress.FILE).write_text("{}")
    assert progress.read(tmp_path) is None
    assert progress.read(tmp_path / "nowhere") is None
