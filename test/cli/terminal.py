"""Runs a command on a terminal of its own and follows a script: a JSON list of steps on standard input.

  {"expect": TEXT}     waits until the output, from where the last expect ended, holds TEXT
  {"send": TEXT}       types it
  {"signal": NAME}     sends a signal to the command
  {"look": NAME}       notes whether the terminal is raw, and the processor seconds the command has used
  {"wait": SECONDS}    lets time pass
Prints one JSON object: output, exit code or signal, what was looked at, and the terminal's state at the end.
Standard library only; Python 3.8 or newer.
"""
import json, os, pty, select, signal, sys, termios, time

command, steps = sys.argv[1:], json.load(sys.stdin)
leader, terminal = pty.openpty()
before = termios.tcgetattr(terminal)
pid = os.fork()
if pid == 0:
    os.setsid()
    import fcntl
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(terminal, fd)
    os.closerange(3, 100)
    os.execvp(command[0], command)

output, seen, looks, status, failed = b"", 0, {}, None, None


def pump(seconds):
    """Reads what there is, for so long at most; notes the end."""
    global output, status
    ready, _, _ = select.select([leader], [], [], seconds)
    if ready:
        try:
            output += os.read(leader, 65536)
        except OSError:
            pass
    if status is None:
        done, how = os.waitpid(pid, os.WNOHANG)
        if done:
            status = how


def used():
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


for step in steps:
    (what, value), = step.items()
    if what == "expect":
        deadline = time.monotonic() + float(os.environ.get("PTY_PATIENCE", "60"))
        while value.encode() not in output[seen:] and status is None and time.monotonic() < deadline:
            pump(0.05)
        at = output.find(value.encode(), seen)
        if at < 0:
            failed = f"{value!r} did not come"
            break
        seen = at + len(value.encode())
    elif what == "send":
        os.write(leader, value.encode())
    elif what == "signal":
        os.kill(pid, getattr(signal, value))
    elif what == "wait":
        until = time.monotonic() + value
        while time.monotonic() < until:
            pump(0.05)
    elif what == "look":
        local = termios.tcgetattr(terminal)[3]
        looks[value] = {"raw": not local & termios.ICANON, "cpu": used(), "time": time.monotonic()}
deadline = time.monotonic() + 20
while status is None and time.monotonic() < deadline and not failed:
    pump(0.05)
if status is None:
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
pump(0.1)
print(json.dumps({
    "output": output.decode("latin1"),
    "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
    "signal": signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None,
    "looks": looks,
    "restored": termios.tcgetattr(terminal) == before,
    "failed": failed,
}))
