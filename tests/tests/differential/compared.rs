//! The parts of two answers that are held against each other, where that is not all of both.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::scenario::Compared;

/// Fields that tell one entry of a list from another in documents about what is served.
const IDENTITIES: [&str; 6] = ["/metadata/name", "/name", "/groupVersion", "/resource", "/subresource", "/version"];

/// What to compare of our answer and theirs, both as text made comparable.
pub(crate) fn parts(how: Compared, ours: &str, theirs: &str) -> (String, String) {
    match how {
        Compared::Whole => (ours.to_owned(), theirs.to_owned()),
        Compared::Served => (ours.to_owned(), served(ours, theirs)),
        Compared::Fields => (fields(ours), fields(theirs)),
    }
}

/// Their answer without what ours does not tell of: by fields and named entries if it is JSON, by lines if not.
fn served(ours: &str, theirs: &str) -> String {
    let (Some((_, ours_body)), Some((their_head, their_body))) = (split(ours), split(theirs)) else {
        return theirs
            .lines()
            .filter(|line| ours.lines().any(|known| known == *line))
            .map(|line| line.to_owned() + "\n")
            .collect();
    };
    let mut left = their_body;
    reduce(&ours_body, &mut left);
    format!("{their_head}{left:#}\n")
}

/// What comes before a JSON document, and the document.
fn split(text: &str) -> Option<(&str, Value)> {
    let (head, body) = text.split_at(text.find("\n{")? + 1);
    Some((head, serde_json::from_str(body).ok()?))
}

fn reduce(ours: &Value, theirs: &mut Value) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            theirs.retain(|name, _| ours.contains_key(name));
            for (name, value) in theirs {
                reduce(&ours[name], value);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            let counterpart = |item: &Value| {
                let identity = identity(item);
                ours.iter().find(|one| self::identity(one) == identity)
            };
            theirs.retain(|item| identity(item).is_none() || counterpart(item).is_some());
            for item in theirs {
                if let Some(one) = counterpart(item) {
                    reduce(one, item);
                }
            }
        }
        _ => {}
    }
}

fn identity(item: &Value) -> Option<&Value> {
    IDENTITIES.iter().find_map(|pointer| item.pointer(pointer)).filter(|name| name.is_string())
}

/// The lines of `kubectl explain` that are no prose.
fn fields(text: &str) -> String {
    let is_field = |line: &&str| {
        let line = line.trim();
        line.ends_with('>') && !line.starts_with('<')
            || line.ends_with("-required-")
            || ["exit", "GROUP:", "KIND:", "VERSION:", "FIELD:", "FIELDS:", "stderr:", "error:"]
                .iter()
                .any(|mark| line.starts_with(mark))
    };
    text.lines().filter(is_field).map(|line| line.to_owned() + "\n").collect()
}

/// How deep a place is named: what is wrong is told there, and documents of thousands of lines differ at few.
const PLACE_DEPTH: usize = 4;

/// Where two answers differ, once each: `answer` where one is refused and the other not, or for another reason; else the names of headers,
/// `text` for what is no JSON document, and the ways to fields, with `[]` for any entry of a list.
pub(crate) fn places(ours: &str, theirs: &str) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    if ours == theirs {
        return places;
    }
    match (split(ours), split(theirs)) {
        (Some((our_head, our_body)), Some((their_head, their_body))) => {
            if our_head.lines().next() != their_head.lines().next() {
                places.insert("answer".to_owned());
                return places;
            }
            let only_in = |one: &str, other: &str| {
                let lines = one.lines().filter(|line| !other.lines().any(|known| known == *line));
                lines.map(|line| line.split_once(": ").map_or(line, |(name, _)| name).to_owned()).collect::<Vec<_>>()
            };
            places.extend(only_in(our_head, their_head));
            places.extend(only_in(their_head, our_head));
            note_places(&mut Vec::new(), Some(&our_body), Some(&their_body), &mut places);
        }
        _ => {
            places.insert("text".to_owned());
        }
    }
    places
}

fn note_places<'a>(
    way: &mut Vec<&'a str>,
    ours: Option<&'a Value>,
    theirs: Option<&'a Value>,
    places: &mut BTreeSet<String>,
) {
    if ours == theirs {
        return;
    }
    match (ours, theirs) {
        (Some(Value::Object(ours)), Some(Value::Object(theirs))) if way.len() < PLACE_DEPTH => {
            for name in ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(*name))) {
                way.push(name);
                note_places(way, ours.get(name), theirs.get(name), places);
                way.pop();
            }
        }
        (Some(Value::Array(ours)), Some(Value::Array(theirs)))
            if ours.len() == theirs.len() && way.len() < PLACE_DEPTH =>
        {
            way.push("[]");
            for (ours, theirs) in ours.iter().zip(theirs) {
                note_places(way, Some(ours), Some(theirs), places);
            }
            way.pop();
        }
        _ => {
            places.insert(way.join("."));
        }
    }
}

#[test]
fn places_are_the_ways_to_what_differs() {
    let ours = "200\nallow: GET\n{\"a\": 1, \"list\": [{\"b\": 1, \"c\": 2}], \"deep\": {\"d\": {\"e\": {\"f\": {\"g\": 1}}}}}\n";
    let theirs =
        "200\nallow: PUT\n{\"a\": 1, \"list\": [{\"b\": 2}], \"deep\": {\"d\": {\"e\": {\"f\": {\"g\": 2}}}}}\n";
    let found = places(ours, theirs);
    assert_eq!(Vec::from_iter(found), ["allow", "deep.d.e.f", "list.[].b", "list.[].c"]);
    assert!(places(ours, ours).is_empty());
    assert_eq!(Vec::from_iter(places(ours, "409\n{\"a\": 2}\n")), ["answer"]);
    assert_eq!(Vec::from_iter(places("a\n", "b\n")), ["text"]);
    let shorter = "200\n{\"list\": []}\n";
    assert_eq!(Vec::from_iter(places("200\n{\"list\": [1]}\n", shorter)), ["list"]);
}

#[test]
fn what_only_the_real_server_tells_is_left_out_and_what_differs_stays() {
    let ours = "200\n{\"groups\": [{\"name\": \"a\", \"verbs\": [\"get\"]}]}\n";
    let theirs = "200\n{\"groups\": [{\"name\": \"b\"}, {\"name\": \"a\", \"verbs\": [\"get\", \"list\"], \"more\": 1}], \"more\": 1}\n";
    let (_, left) = parts(Compared::Served, ours, theirs);
    let value = split(&left).map(|(_, value)| value);
    assert_eq!(value, Some(serde_json::json!({"groups": [{"name": "a", "verbs": ["get", "list"]}]})));
    assert_eq!(parts(Compared::Served, "a\nc\n", "a\nb\nc\n").1, "a\nc\n");
    assert_eq!(
        parts(Compared::Fields, "", "KIND: x\n  words\n  a\t<string>\n    <empty>\n").1,
        "KIND: x\n  a\t<string>\n"
    );
}
