/// The window's state, its workspace file, command lines, the command table and scripts' conditions, without a window.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "app/gui/app/commands.h"
#include "app/gui/app/workspace.h"
#include "app/gui/panels/shortcuts.h"
#include "app/gui/script.h"
#include "app/gui/script_condition.h"
#include "core/base/error.h"

namespace headscope::gui {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

/// The sentence that `call` fails with.
template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / fmt::format("headscope_state_{}", ::getpid())) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  fs::path operator/(const char* name) const { return path_ / name; }

 private:
  fs::path path_;
};

void write(const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A state in which nothing has its default.
AppState busy_state() {
  AppState state;
  SlotState& a = state.slots[0];
  a.path = "/models/with \"quotes\" and \u00E9";
  a.prompt = "two\nlines\tand \U0001F600";
  a.cut = 7;
  a.selection = {1, 2, 30, 4};
  a.switched_off = {{0, 3}, {2, 5}};
  state.slots[1].path = "/models/b.h5";
  state.slots[1].selection.layer = 9;
  state.active = ModelSlot::b;
  state.view = "map";
  state.theme = Theme::light;
  state.font_scale = 1.3;
  state.atlas.metric = HeadMetric::sink;
  state.atlas.first_layer = 3;
  state.map.log_colour = !state.map.log_colour;
  state.map.row_begin = 10;
  state.map.row_end = 40;
  state.map.key_begin = 2;
  state.map.key_end = 32;
  state.generation = {50, 0.7, 40, 0.9, 123456789012345, true};
  state.recent = {"/models/one", "/models/two"};
  state.folder = "/models";
  state.log_open = true;
  state.head_open = false;
  state.docking = "[Window][Model]\nPos=1,2\n";
  state.width = 1600;
  state.height = 1000;
  return state;
}

TEST(AppState, ComesBackFromJsonWhole) {
  const Json json = to_json(busy_state());
  EXPECT_EQ(to_json(app_state(json)), json);
  EXPECT_EQ(to_json(app_state(Json::parse(json.dump()))), json);
  EXPECT_NE(json, to_json(AppState{}));
  // Nothing in the busy state has kept its default, so that a forgotten key cannot hide.
  const Json usual = to_json(AppState{});
  for (const auto& [key, value] : json.items()) {
    if (key != "format" && key != "version") {
      EXPECT_NE(value, usual[key]) << key;
    }
  }
  const AppState back = app_state(json);
  EXPECT_EQ(back.slots[0].prompt, busy_state().slots[0].prompt);
  EXPECT_EQ(back.slots[0].selection.key, 4);
  EXPECT_EQ(back.slots[1].selection.head, std::nullopt);
  EXPECT_EQ(back.generation.seed, 123456789012345u);
}

TEST(AppState, AbsentKeysKeepTheirDefaults) {
  EXPECT_EQ(to_json(app_state(Json::object())), to_json(AppState{}));
  const AppState some = app_state(Json::parse(R"({"slots": {"B": {"prompt": "x"}}, "theme": "light"})"));
  EXPECT_EQ(some.slots[1].prompt, "x");
  EXPECT_EQ(some.slots[0].prompt, built_in_prompt);
  EXPECT_EQ(some.theme, Theme::light);
}

TEST(AppState, WhatDoesNotFitIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"([])", "window"},
      {R"({"format": "other"})", "format"},
      {R"({"version": 2})", "newer HeadScope"},
      {R"({"version": 0})", "version"},
      {R"({"colour": 1})", "colour"},
      {R"({"active": "C"})", "active"},
      {R"({"view": "chart"})", "view"},
      {R"({"theme": "blue"})", "theme"},
      {R"({"font_scale": 3})", "font_scale"},
      {R"({"font_scale": "1"})", "font_scale"},
      {R"({"slots": {"C": {}}})", "C"},
      {R"({"slots": {"A": {"cut": -1}}})", "cut"},
      {R"({"slots": {"A": {"path": 5}}})", "path"},
      {R"({"slots": {"A": {"selection": {"layer": -1}}}})", "layer"},
      {R"({"slots": {"A": {"selection": {"row": 1}}}})", "row"},
      {R"({"slots": {"A": {"switched_off": {}}}})", "switched_off"},
      {R"({"slots": {"A": {"switched_off": [{"layer": 1.5, "head": 0}]}}})", "layer"},
      {R"({"views": {"atlas": {"metric": "beauty"}}})", "metric"},
      {R"({"views": {"chart": {}}})", "chart"},
      {R"({"generation": {"temperature": -1}})", "temperature"},
      {R"({"generation": {"top_p": 0}})", "top_p"},
      {R"({"generation": {"count": 0}})", "count"},
      {R"({"recent": "/models"})", "recent"},
      {R"({"recent": [1]})", "recent"},
      {R"({"log_open": 1})", "log_open"},
  };
  for (const auto& [text, word] : cases) {
    EXPECT_THAT(error_of([&] { app_state(Json::parse(text)); }), HasSubstr(word)) << text;
  }
}

TEST(AppState, AnySizeOfTheWindowIsTaken) {
  EXPECT_EQ(app_state(Json::parse(R"({"width": 64, "height": 1})")).width, 64);
}

TEST(AppState, AZoomIsCutToTheRun) {
  MapState zoom;
  zoom.row_begin = 30;
  zoom.row_end = 60;
  zoom.key_begin = 10;
  zoom.key_end = 15;
  const MapState cut = window_within(zoom, 40);
  EXPECT_EQ(std::pair(cut.row_begin, cut.row_end), std::pair(int64_t{30}, int64_t{40}));
  EXPECT_EQ(std::pair(cut.key_begin, cut.key_end), std::pair(int64_t{10}, int64_t{15}));
  const MapState beyond = window_within(zoom, 20);
  EXPECT_EQ(std::pair(beyond.row_begin, beyond.row_end), std::pair(int64_t{0}, int64_t{20}));
  const MapState all = window_within({}, 20);
  EXPECT_EQ(std::pair(all.key_begin, all.key_end), std::pair(int64_t{0}, int64_t{20}));
}

TEST(AppState, RememberNoMoreThanTheNewestPaths) {
  AppState state;
  for (size_t i = 0; i < most_recent + 5; ++i) state.recent.push_back(fmt::format("/m/{}", i));
  const AppState back = app_state(to_json(state));
  ASSERT_EQ(back.recent.size(), most_recent);
  EXPECT_EQ(back.recent.front(), "/m/0");
}

TEST(Workspace, IsWrittenAndReadBack) {
  const Folder folder;
  const fs::path path = folder / "new/folder/workspace.json";
  save_workspace(path, busy_state());
  const LoadedWorkspace loaded = load_workspace(path);
  EXPECT_EQ(loaded.problem, "");
  ASSERT_TRUE(loaded.state);
  EXPECT_EQ(to_json(*loaded.state), to_json(busy_state()));
  save_workspace(path, AppState{});
  EXPECT_EQ(to_json(*load_workspace(path).state), to_json(AppState{}));
  // Nothing else is left beside it.
  EXPECT_EQ(std::distance(fs::directory_iterator(path.parent_path()), fs::directory_iterator()), 1);
}

TEST(Workspace, NoneIsNoProblem) {
  const Folder folder;
  for (const fs::path& path : {fs::path(), folder / "absent.json"}) {
    const LoadedWorkspace loaded = load_workspace(path);
    EXPECT_FALSE(loaded.state);
    EXPECT_EQ(loaded.problem, "");
  }
}

TEST(Workspace, ADamagedOneIsSetAside) {
  const Folder folder;
  const fs::path path = folder / "workspace.json";
  const std::string whole = to_json(busy_state()).dump(1);
  const std::string damages[] = {
      whole.substr(0, whole.size() / 2), "", "\xff\xfe", "[1, 2]", R"({"version": 99})", R"({"theme": "blue"})",
      std::string(100000, '[')};
  for (const std::string& damage : damages) {
    write(path, damage);
    const LoadedWorkspace loaded = load_workspace(path);
    EXPECT_FALSE(loaded.state) << damage.substr(0, 40);
    EXPECT_THAT(loaded.problem, HasSubstr("workspace.json.damaged"));
    EXPECT_FALSE(fs::exists(path));
    EXPECT_EQ(read(folder / "workspace.json.damaged"), damage) << "nothing is lost";
    EXPECT_EQ(load_workspace(path).problem, "") << "it is said once";
  }
}

TEST(Workspace, AFailedSaveKeepsTheOldOne) {
  const Folder folder;
  const fs::path path = folder / "workspace.json";
  save_workspace(path, busy_state());
  const std::string before = read(path);
  write(folder / "file", "");
  EXPECT_THAT(error_of([&] { save_workspace(folder / "file/workspace.json", AppState{}); }), HasSubstr("file"));
  EXPECT_EQ(read(path), before);
}

TEST(Workspace, BytesThatAreNoTextDoNotStopIt) {
  const Folder folder;
  AppState state = busy_state();
  state.slots[0].path = "/models/\xff";
  state.recent = {"/models/\xc3"};
  save_workspace(folder / "workspace.json", state);
  const LoadedWorkspace loaded = load_workspace(folder / "workspace.json");
  ASSERT_TRUE(loaded.state) << loaded.problem;
  EXPECT_EQ(loaded.state->slots[0].prompt, state.slots[0].prompt);
}

TEST(CommandLine, WordsAndNames) {
  const CommandCall call = parse_call("  select  slot=A layer=2\thead=5 ");
  EXPECT_EQ(call.id, "select");
  EXPECT_TRUE(call.words.empty());
  EXPECT_THAT(call.named, ElementsAre(std::pair("head", "5"), std::pair("layer", "2"), std::pair("slot", "A")));
  EXPECT_EQ(call.number("layer"), 2);
  EXPECT_EQ(call.number("query"), std::nullopt);
  EXPECT_EQ(call.text("slot", 0), "A");
  EXPECT_EQ(call.text("other", 0), std::nullopt);
  EXPECT_EQ(parse_call("").id, "");
  EXPECT_EQ(parse_call("run").rest, "");
}

TEST(CommandLine, QuotesAndEscapes) {
  const CommandCall call = parse_call(R"(open "my models/a=b" slot="B" "x\"y\\z\n\t" te"x t"s)");
  EXPECT_THAT(call.words, ElementsAre("my models/a=b", "x\"y\\z\n\t", "tex ts"));
  EXPECT_EQ(call.text("slot", 9), "B");
  EXPECT_EQ(call.text("path", 0), "my models/a=b");
  EXPECT_THAT(parse_call(R"(prompt "" "=")").words, ElementsAre("", "="));
  EXPECT_EQ(parse_call(R"(prompt She said "a b" twice)").rest, R"(She said "a b" twice)");
  // A name is made of small letters, digits and underscores; else the word is a word.
  EXPECT_THAT(parse_call("open /a/B=c =d X=1").words, ElementsAre("/a/B=c", "=d", "X=1"));
}

TEST(CommandLine, QuotedWordsComeBack) {
  for (const std::string text : {"plain", "", "two words", "a=b", "\"", "\\", "\\n", "line\nline\ttab",
                                 "\u00E9\U0001F600", " ", "ends with \\", "\"quoted\""}) {
    const CommandCall call = parse_call("open " + quoted_word(text));
    EXPECT_THAT(call.words, ElementsAre(text)) << quoted_word(text);
    EXPECT_TRUE(call.named.empty());
    EXPECT_EQ(quoted_word(text).find('\n'), std::string::npos) << "one line stays one line";
  }
  EXPECT_EQ(quoted_word("plain"), "plain");
}

TEST(CommandLine, MistakesAreNamed) {
  EXPECT_THAT(error_of([] { parse_call("open \"a"); }), HasSubstr("double quote"));
  const CommandCall call = parse_call("select a layer=x up=1");
  EXPECT_THAT(error_of([&] { call.allow(0, {"layer", "up"}); }), HasSubstr("\"a\""));
  EXPECT_THAT(error_of([&] { call.allow(1, {"layer"}); }), HasSubstr("up"));
  EXPECT_THAT(error_of([&] { (void)call.number("layer"); }), HasSubstr("layer=x"));
  for (const char* line : {"f n=-1", "f n=1.5", "f n=", "f n=99999999999999999999", "f n=0x1"}) {
    EXPECT_NE(error_of([&] { (void)parse_call(line).number("n"); }), "no error") << line;
  }
  EXPECT_NO_THROW(call.allow(1, {"up", "layer"}));
}

TEST(Commands, EachIsFoundByItsNameAndHasItsOwn) {
  std::set<std::string_view> ids, titles;
  std::set<ImGuiKeyChord> chords;
  const std::set<std::string_view> menus{"", "File", "Edit", "View", "Model", "Run", "Help"};
  for (const Command& command : commands()) {
    EXPECT_TRUE(ids.insert(command.id).second) << command.id;
    EXPECT_EQ(&find_command(command.id), &command);
    EXPECT_EQ(parse_call(command.id).id, command.id);
    EXPECT_FALSE(command.help.empty()) << command.id;
    EXPECT_TRUE(menus.contains(command.menu)) << command.menu;
    EXPECT_EQ(command.title.empty(), command.menu.empty()) << command.id;
    if (!command.title.empty()) {
      EXPECT_TRUE(titles.insert(command.title).second) << command.title;
    }
    if (!command.shortcut.empty()) {
      EXPECT_TRUE(chords.insert(parse_chord(command.shortcut)).second) << command.shortcut;
    }
  }
  EXPECT_GT(ids.size(), 30u);
  const std::string error = error_of([] { (void)find_command("opne"); });
  EXPECT_THAT(error, HasSubstr("opne"));
  EXPECT_THAT(error, HasSubstr("open"));
}

TEST(Shortcuts, AreReadAsTheyAreWritten) {
  EXPECT_EQ(parse_chord("Ctrl+O"), ImGuiMod_Ctrl | ImGuiKey_O);
  EXPECT_EQ(parse_chord("ctrl+shift+o"), ImGuiMod_Ctrl | ImGuiMod_Shift | ImGuiKey_O);
  EXPECT_EQ(parse_chord("Shift+Ctrl+O"), ImGuiMod_Ctrl | ImGuiMod_Shift | ImGuiKey_O);
  EXPECT_EQ(parse_chord("Alt+Left"), ImGuiMod_Alt | ImGuiKey_LeftArrow);
  EXPECT_EQ(parse_chord("F"), ImGuiKey_F);
  EXPECT_EQ(parse_chord("0"), ImGuiKey_0);
  EXPECT_EQ(parse_chord("Ctrl+="), ImGuiMod_Ctrl | ImGuiKey_Equal);
  EXPECT_EQ(parse_chord("Ctrl+-"), ImGuiMod_Ctrl | ImGuiKey_Minus);
  EXPECT_EQ(parse_chord("Ctrl+."), ImGuiMod_Ctrl | ImGuiKey_Period);
  EXPECT_EQ(parse_chord("Escape"), ImGuiKey_Escape);
  for (const char* text : {"", "ctrl+", "ctrl", "ctrl+k+l", "\u00E9", "f99", "super+a"}) {
    EXPECT_THAT(error_of([&] { parse_chord(text); }), HasSubstr("no key")) << text;
  }
}

TEST(Script, ConditionsCompareNumbersTextsAndParts) {
  const Json number = 60, real = 0.5, text = "Layer 2", list = Json::array({1, 2}), nothing = nullptr, yes = true;
  EXPECT_TRUE(holds(number, "==", "60"));
  EXPECT_TRUE(holds(number, "==", "60.0"));
  EXPECT_FALSE(holds(number, "==", "61"));
  EXPECT_TRUE(holds(number, "!=", "61"));
  EXPECT_TRUE(holds(number, "<", "61"));
  EXPECT_FALSE(holds(number, "<", "60"));
  EXPECT_TRUE(holds(number, "<=", "60"));
  EXPECT_TRUE(holds(number, ">", "9"));
  EXPECT_TRUE(holds(number, ">=", "60"));
  EXPECT_FALSE(holds(number, ">=", "60.5"));
  EXPECT_TRUE(holds(real, ">", "0.25"));
  EXPECT_TRUE(holds(text, "==", "Layer 2"));
  EXPECT_FALSE(holds(text, "==", "layer 2"));
  EXPECT_TRUE(holds(text, "~", "yer"));
  EXPECT_FALSE(holds(text, "~", "head"));
  EXPECT_TRUE(holds(list, "==", "[1,2]"));
  EXPECT_TRUE(holds(nothing, "==", "null"));
  EXPECT_TRUE(holds(number, "!=", "null"));
  EXPECT_TRUE(holds(yes, "==", "true"));
  for (const Json* value : {&text, &nothing, &yes}) {
    EXPECT_THAT(error_of([&] { holds(*value, "<", "3"); }), HasSubstr("<"));
  }
  EXPECT_THAT(error_of([&] { holds(number, "=", "60"); }), HasSubstr("="));
}

TEST(Script, KeysLeadToValues) {
  const Json json = Json::parse(R"({"slots": {"A": {"tokens": 60}}, "view": "map"})");
  EXPECT_EQ(value_at(json, "slots.A.tokens"), 60);
  EXPECT_EQ(value_at(json, "view"), "map");
  EXPECT_THAT(error_of([&] { value_at(json, "slots.C.tokens"); }), HasSubstr("\"C\""));
  EXPECT_THAT(error_of([&] { value_at(json, "view.x"); }), HasSubstr("\"x\""));
}

TEST(Script, AFileThatCannotBeReadIsNamed) {
  EXPECT_THAT(error_of([] { Script(fs::path("/no/such/script.txt")); }), HasSubstr("script.txt"));
  EXPECT_TRUE(Script(std::string_view("# only a comment\n\n   \t\n")).done());
  EXPECT_FALSE(Script(std::string_view("run")).done());
}

}  // namespace
}  // namespace headscope::gui
