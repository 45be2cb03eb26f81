"""A virtual X server and what people do with windows on it, by xdotool and xclip."""

import ctypes
import ctypes.util
import os
import shutil
import signal
import subprocess
import time

NEEDED = ("Xvfb", "xdotool", "xclip")


def missing_programs(needed=NEEDED):
    return [name for name in needed if shutil.which(name) is None]


class Screen:
    """Xvfb on a free display number, without a window manager."""

    def __init__(self, width=1400, height=900):
        ours, theirs = os.pipe()
        self.process = subprocess.Popen(
            ["Xvfb", "-displayfd", str(theirs), "-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp"],
            pass_fds=[theirs], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs)
        with os.fdopen(ours) as file:
            number = file.readline().strip()  # empty when it ended without a display
        if not number:
            raise RuntimeError("Xvfb does not start")
        self.environment = {**os.environ, "DISPLAY": f":{number}"}
        self.environment.pop("WAYLAND_DISPLAY", None)

    def close(self):
        self.process.terminate()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def xdotool(self, *arguments):
        return subprocess.run(["xdotool", *(str(a) for a in arguments)], env=self.environment, timeout=60, check=True,
                              capture_output=True, text=True).stdout.strip()

    def windows(self, name):
        found = subprocess.run(["xdotool", "search", "--onlyvisible", "--name", name], env=self.environment,
                               timeout=60, check=False, capture_output=True, text=True)
        return found.stdout.split()

    def wait_for_window(self, name, limit=60):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if windows := self.windows(name):
                return windows[0]
            time.sleep(0.05)
        raise TimeoutError(f"no window with {name!r} in its title within {limit} s")

    def set_clipboard(self, text):
        # xclip stays in the background to hand the text out; it must not hold our pipes open.
        subprocess.run(["xclip", "-selection", "clipboard", "-in"], input=text.encode(), env=self.environment,
                       timeout=20, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class _ClientMessage(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int),
                ("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("message_type", ctypes.c_ulong),
                ("format", ctypes.c_int), ("data", ctypes.c_long * 5), ("room", ctypes.c_long * 24)]


def ask_to_close(screen, window):
    """What a window manager sends when the cross in a window's corner is clicked; xdotool cannot."""
    x11 = ctypes.CDLL(ctypes.util.find_library("X11"))
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    display = ctypes.c_void_p(x11.XOpenDisplay(screen.environment["DISPLAY"].encode()))
    message = _ClientMessage(type=33, window=int(window), format=32,
                             message_type=x11.XInternAtom(display, b"WM_PROTOCOLS", 0))
    message.data[0] = x11.XInternAtom(display, b"WM_DELETE_WINDOW", 0)
    x11.XSendEvent(display, ctypes.c_ulong(int(window)), 0, ctypes.c_long(0), ctypes.byref(message))
    x11.XCloseDisplay(display)


def cpu_seconds(pid):
    """User and system time of a process with all its threads."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def stop(process, number=signal.SIGTERM, limit=20):
    process.send_signal(number)
    return process.wait(limit)
