//! A hook of Claude Code that runs when a session ends
//! (<https://docs.claude.com/en/docs/claude-code/hooks>).

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstNode, CstObject, CstRootNode};
use jsonc_parser::json;

use super::place::Place;
use super::{Edit, Task};
use crate::exit::Failure;

const HOOKS: &str = "hooks";
const EVENT: &str = "SessionEnd";

/// The project's settings with the hook, or without; formatting and all else stay as they are.
pub(super) fn edits(task: &Task, install: bool) -> Result<Vec<Edit>, Failure> {
    let place = Place::File { path: task.root.join(".claude/settings.json"), program: false };
    let before = place.read()?;
    let changed =
        if install { with(before.as_deref(), &task.line()) } else { without(before.as_deref(), &task.line()) };
    let after = changed.map_err(|why| Failure::failed(format!("{place}: {why}; it was left as it is")))?;
    Ok(if before == after { Vec::new() } else { vec![Edit { place, before, after }] })
}

fn parsed(text: &str) -> Result<CstRootNode, String> {
    CstRootNode::parse(text, &ParseOptions::default()).map_err(|error| error.to_string())
}

fn with(before: Option<&str>, line: &str) -> Result<Option<String>, String> {
    let root = parsed(before.unwrap_or("{\n}\n"))?;
    let object = root.object_value().ok_or("it holds no object")?;
    let wrong = |name: &str| format!("{name:?} in it is something else than expected");
    let hooks = object.object_value_or_create(HOOKS).ok_or_else(|| wrong(HOOKS))?;
    let event = hooks.array_value_or_create(EVENT).ok_or_else(|| wrong(EVENT))?;
    if event.elements().iter().all(|entry| !is_ours(entry, line)) {
        event.append(json!({ "hooks": [{ "type": "command", "command": line }] }));
    }
    Ok(Some(root.to_string()))
}

fn without(before: Option<&str>, line: &str) -> Result<Option<String>, String> {
    let Some(text) = before else { return Ok(None) };
    let root = parsed(text)?;
    let Some(object) = root.object_value() else { return Ok(Some(text.to_owned())) };
    let Some((hooks, event)) = found(&object) else { return Ok(Some(text.to_owned())) };
    let ours: Vec<CstNode> = event.elements().into_iter().filter(|entry| is_ours(entry, line)).collect();
    if ours.is_empty() {
        return Ok(Some(text.to_owned()));
    }
    ours.into_iter().for_each(CstNode::remove);
    // What was made for it goes with it.
    if event.elements().is_empty() {
        remove(&hooks, EVENT);
    }
    if hooks.properties().is_empty() {
        remove(&object, HOOKS);
    }
    Ok((!object.properties().is_empty()).then(|| root.to_string()))
}

fn found(object: &CstObject) -> Option<(CstObject, CstArray)> {
    let hooks = object.object_value(HOOKS)?;
    let event = hooks.array_value(EVENT)?;
    Some((hooks, event))
}

fn remove(object: &CstObject, name: &str) {
    if let Some(property) = object.get(name) {
        property.remove();
    }
}

/// Whether an entry is the one that is written here: this command, and no other.
fn is_ours(entry: &CstNode, line: &str) -> bool {
    let ours = serde_json::json!({ "hooks": [{ "type": "command", "command": line }] });
    entry.to_serde_value() == Some(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "'/a b/aqe-sync' --root /p --quiet";

    #[test]
    fn the_hook_is_added_once_and_taken_out_again() {
        let made = with(None, LINE).expect("sound").expect("a file");
        let value: serde_json::Value = serde_json::from_str(&made).expect("JSON");
        assert_eq!(value["hooks"]["SessionEnd"][0]["hooks"][0]["command"], LINE);
        assert_eq!(with(Some(&made), LINE).expect("sound").as_deref(), Some(made.as_str()));
        assert_eq!(without(Some(&made), LINE).expect("sound"), None);
        assert_eq!(without(None, LINE).expect("sound"), None);
    }

    #[test]
    fn what_others_wrote_stays_as_they_wrote_it() {
        for own in [
            "{\n  \"model\": \"x\", \"b\": [1,2]\n}\n",
            "{\n  // mine\n  \"hooks\": {\n    \"Stop\": [{ \"hooks\": [] }]\n  }\n}\n",
            "{\n  \"hooks\": {\n    \"SessionEnd\": [\n      { \"hooks\": [{ \"type\": \"command\", \"command\": \"say bye\" }] }\n    ]\n  }\n}\n",
        ] {
            let added = with(Some(own), LINE).expect("sound").expect("a file");
            assert!(added.contains(LINE) && added != own, "{added}");
            assert_eq!(without(Some(&added), LINE).expect("sound").as_deref(), Some(own), "{added}");
            assert_eq!(without(Some(own), LINE).expect("sound").as_deref(), Some(own));
        }
        for wrong in ["[]", "{", "{\"hooks\": 1}", "{\"hooks\": {\"SessionEnd\": {}}}"] {
            assert!(with(Some(wrong), LINE).is_err(), "{wrong}");
        }
    }
}
