"""Palette, menus, file browser and export field."""

from window import THEMES, quoted


def test_palette_by_typing(window, stories):
    window.play("""
        wait idle
        key ctrl+k
        wait 2
        type dark
        wait 2
        key enter
        wait 2
        expect palette == false
        expect theme == light
        key ctrl+k
        wait 2
        type "kv memory"
        wait 2
        key enter
        wait 2
        expect view == kv
        key ctrl+k
        wait 2
        type "no such command"
        wait 2
        key enter
        wait 2
        expect palette == true
        key escape
        wait 2
        click search
        wait 2
        expect palette == true
        key down
        key down
        key up
        wait 2
        type log
        wait 2
        click palette/toggle_log
        wait 2
        expect log_open == true
        """, stories)


def test_menus(window, stories):
    window.play("""
        wait idle
        click menu/View
        wait 3
        shot menu.png
        click menu/View/view_map
        wait 3
        expect view == map
        click menu/Help
        wait 3
        click menu/Help/about
        wait 3
        key escape
        wait 2
        click menu/File
        wait 3
        key escape
        wait 3
        """, stories)


def test_browser(window, stories, tiny):
    """Up, into a folder, a folder that is a model, a typed path."""
    home = window.folder / "home"
    (home / "models" / "deep").mkdir(parents=True)
    (home / "models" / "tiny").symlink_to(tiny)
    (home / "notes.txt").write_text("not a model")
    result = window.play(f"""
        wait 2
        key ctrl+o
        wait 3
        click browser/home
        wait 3
        shot chosen.png
        click browser/open
        wait 3
        shot home.png
        double_click browser/models
        wait 30
        shot models.png
        double_click browser/deep
        wait 3
        expect browser == true
        click browser/up
        wait 3
        click browser/tiny
        wait 3
        expect browser == true
        click browser/open
        wait idle
        expect browser == false
        expect slots.A.model == tiny
        key ctrl+shift+o
        wait 3
        expect browser == true
        key ctrl+a
        type {quoted(stories)}
        key enter
        wait idle
        expect browser == false
        expect slots.B.model == stories260K
        key ctrl+o
        wait 3
        key ctrl+a
        type /no/such/folder
        key enter
        wait idle
        expect browser_problem ~ /no/such/folder
        expect slots.B.error == ""
        key escape
        wait 2
        expect browser == false
        expect slots.B.model == stories260K
        """)
    assert (result.picture("home.png").pixels != result.picture("models.png").pixels).any()


def test_double_clicks_in_the_browser_open_one_thing(window, tiny):
    """The second half of a double click must not reach what appears below the mouse."""
    (window.folder / "outer").mkdir()
    (window.folder / "outer" / "model").symlink_to(tiny)
    window.play("""
        wait 2
        key ctrl+o
        wait 3
        double_click browser/outer
        wait 30
        expect browser == true
        expect slots.A.model == ""
        double_click browser/model
        wait idle
        expect slots.A.model == model
        """)


def test_the_browser_narrows_down_as_one_types(window, tiny):
    """Letters behind the folder choose, arrows and Enter take; a file's name may hold what Dear ImGui uses itself."""
    for name in ("alpha", "alpha-2", "beta##one", "beta##two"):
        (window.folder / name).symlink_to(tiny)
    window.play(f"""
        wait 2
        key ctrl+o
        wait 3
        type BETA
        wait 3
        key enter
        wait idle
        expect browser == false
        expect slots.A.model == beta##one
        key ctrl+o
        wait 3
        type eta
        wait 3
        key down
        wait 2
        key enter
        wait idle
        expect slots.A.model == beta##two
        key ctrl+o
        wait 3
        key down
        wait 2
        key enter
        wait idle
        expect slots.A.model == alpha
        key ctrl+o
        wait 3
        type alpha
        wait 3
        key down
        wait 2
        key enter
        wait idle
        expect slots.A.model == alpha-2
        key ctrl+o
        wait 3
        type zzz
        wait 3
        key enter
        wait 3
        expect browser_problem ~ There is nothing at
        key backspace
        key backspace
        key backspace
        type alpha
        wait 3
        key enter
        wait idle
        expect slots.A.model == alpha
        key ctrl+o
        wait 3
        click browser/beta##one
        wait 3
        key down
        wait 2
        key enter
        wait idle
        expect slots.A.model == beta##two
        key ctrl+o
        wait 3
        key escape
        wait 3
        click menu/File
        wait 3
        click recent/beta##two
        wait idle
        expect slots.A.model == beta##two
        """)


def test_palette_knows_other_words(window, stories):
    """A command is found by what it does, too, behind those found by their names."""
    window.play("""
        wait idle
        key ctrl+k
        wait 2
        type theme
        wait 2
        key enter
        wait 2
        expect palette == false
        expect theme == light
        """, stories)


def test_export_field_asks_before_it_overwrites(window, stories):
    (window.folder / "headscope-atlas.svg").write_text("keep me")
    result = window.play("""
        wait idle
        key ctrl+e
        wait 3
        click export/go
        wait 3
        shot asked.png
        key escape
        wait 3
        """, stories)
    assert (window.folder / "headscope-atlas.svg").read_text() == "keep me"
    assert result.state()["slots"]["A"]["plates"] == 0
    window.play("""
        wait idle
        key ctrl+e
        wait 3
        click export/go
        wait 3
        click export/go
        wait 3
        """, stories)
    assert "<svg" in (window.folder / "headscope-atlas.svg").read_text(encoding="utf-8")
    window.play("""
        wait idle
        key ctrl+e
        wait 3
        key ctrl+a
        type picture.gif
        key enter
        wait 3
        shot gif.png
        key ctrl+a
        type no/such/folder/x.png
        key enter
        wait 3
        """, stories, name="bad.txt")
    assert not (window.folder / "picture.gif").exists()
