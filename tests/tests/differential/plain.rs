//! Answers made comparable: what must differ between two servers (uids, versions, times, addresses) gets the name of the step it was
//! first seen in; everything else stays as it is.
//!
//! A resourceVersion is never dropped: the same version has the same name wherever it comes again, and one that is older than what
//! was seen before says so. What kube-apiserver itself leaves to chance is put in order: the causes of an apply's conflict (it walks a
//! map) and managedFields (sorted by seconds, so that it matters when a second ends). Left out are the descriptions of a table's columns:
//! they are the types' documentation, which no client shows with a table.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use serde_json::Value;

use crate::answer::Answer;

/// Headers that clients look at.
const HEADERS: [&str; 7] = ["allow", "cache-control", "content-type", "location", "retry-after", "vary", "warning"];

/// Fields that hold a time the server took from its clock.
const TIMES: [&str; 4] = ["creationTimestamp", "deletionTimestamp", "lastTransitionTime", "time"];

/// What one server's answers have shown so far.
pub(crate) struct Names {
    namespace: String,
    address: String,
    words: Vec<(String, String)>,
    versions: BTreeMap<u64, String>,
}

impl Names {
    pub(crate) fn new(namespace: &str, address: &str) -> Self {
        let mut words = vec![(namespace.to_owned(), "<namespace>".to_owned())];
        words.push((address.to_owned(), "<address>".to_owned()));
        Self { namespace: namespace.to_owned(), address: address.to_owned(), words, versions: BTreeMap::new() }
    }

    /// The answer as text: one line a field.
    pub(crate) fn plain(&mut self, step: &str, answer: &Answer) -> String {
        match answer {
            Answer::None(why) => format!("no answer: {}\n", self.text(why)),
            Answer::Http { status, headers, body } => {
                let mut text = format!("{status}\n");
                let mut headers: Vec<_> = headers.iter().filter(|(name, _)| HEADERS.contains(&name.as_str())).collect();
                headers.sort_by_key(|(name, _)| name);
                for (name, value) in headers {
                    writeln!(text, "{name}: {}", self.text(value)).unwrap();
                }
                let is_yaml = text.contains("content-type: application/yaml");
                text + &self.body(step, body, is_yaml)
            }
            Answer::Events { events, ended } => {
                let mut text = String::new();
                for event in events {
                    text += &self.event(step, event.clone());
                }
                if *ended {
                    text += "(the watch ended)\n";
                }
                text
            }
            Answer::Program { code, stdout, stderr } => {
                let (stdout, stderr) = (self.output(step, stdout), self.output(step, stderr));
                format!("exit {code:?}\nstdout:\n{stdout}\nstderr:\n{stderr}\n")
            }
        }
    }

    fn body(&mut self, step: &str, body: &[u8], is_yaml: bool) -> String {
        let text = String::from_utf8_lossy(body);
        let read: Option<Value> =
            if is_yaml { serde_saphyr::from_str(&text).ok() } else { serde_json::from_str(&text).ok() };
        match read.ok_or(()) {
            Ok(mut value) => {
                let is_list = value.get("items").is_some() || value["kind"] == "Table";
                self.walk(step, &mut value, is_list);
                pretty(&value)
            }
            Err(()) => self.output(step, &text) + "\n",
        }
    }

    fn event(&mut self, step: &str, mut event: Value) -> String {
        let bookmark = event["type"] == "BOOKMARK";
        if bookmark && let Some(Value::Array(rows)) = event.pointer_mut("/object/rows") {
            // A table of a bookmark shows its moment in its one row as well.
            rows.iter_mut().for_each(|row| self.walk(step, &mut row["object"], true));
        }
        self.walk_at(step, &mut event["object"], bookmark, "");
        pretty(&event)
    }

    fn walk(&mut self, step: &str, value: &mut Value, is_list: bool) {
        self.walk_at(step, value, is_list, "");
    }

    /// `is_list` concerns the metadata right below: that of a list or bookmark names a moment, not an object.
    fn walk_at(&mut self, step: &str, value: &mut Value, is_list: bool, key: &str) {
        match value {
            Value::Object(fields) => {
                // What defines names comes before what may repeat them.
                if let Some(base) = fields.get("generateName").and_then(Value::as_str)
                    && let Some(name) = fields.get("name").and_then(Value::as_str)
                    && name.len() == base.len() + 5
                {
                    let (from, to) = (name.to_owned(), format!("{base}<generated in {step}>"));
                    self.name(from, to);
                }
                settle_order(fields);
                for (name, value) in fields.iter_mut() {
                    let below = is_list && name == "metadata";
                    match (name.as_str(), &value) {
                        ("resourceVersion", Value::String(text)) => {
                            let shown = self.version(step, text, is_list && key == "metadata");
                            *value = shown.into();
                        }
                        ("continue", Value::String(token)) => *value = self.token(step, token).into(),
                        ("uid", Value::String(uid)) if is_uid(uid) => {
                            self.name(uid.clone(), format!("<uid of {step}>"));
                            *value = self.text(&uid.clone()).into();
                        }
                        (_, Value::String(time)) if TIMES.contains(&name.as_str()) && is_time(time) => {
                            if !self.words.iter().any(|(known, _)| known == time) {
                                self.words.push((time.clone(), "<time>".to_owned()));
                            }
                            *value = "<time>".into();
                        }
                        _ => self.walk_at(step, value, below, name),
                    }
                }
                // Keys may hold names too.
                *fields = std::mem::take(fields).into_iter().map(|(key, value)| (self.text(&key), value)).collect();
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk_at(step, item, false, "")),
            Value::String(text) => {
                *text = if key == "message" { self.message(text) } else { self.text(text) };
                if is_age(text) {
                    *text = "<age>".to_owned();
                }
            }
            _ => {}
        }
    }

    fn name(&mut self, from: String, to: String) {
        if self.words.iter().any(|(known, _)| *known == from) {
            return;
        }
        let same = self.words.iter().filter(|(_, name)| name.starts_with(&to)).count();
        let to = if same == 0 { to } else { format!("{to} #{}", same + 1) };
        // The longest first: a generated name may hold the namespace's.
        let at = self.words.iter().position(|(known, _)| known.len() < from.len()).unwrap_or(self.words.len());
        self.words.insert(at, (from, to));
    }

    fn text(&self, text: &str) -> String {
        let text = self.words.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        // Where in its source a server looked depends on how it was built.
        match text.split_once("in scheme \"") {
            Some((before, after)) => {
                format!("{before}in a scheme{}", after.split_once('"').map_or("", |(_, rest)| rest))
            }
            None => text,
        }
    }

    fn version(&mut self, step: &str, text: &str, of_moment: bool) -> String {
        let Ok(version) = text.parse::<u64>() else { return text.to_owned() };
        let newest = self.versions.last_key_value().map_or(0, |(version, _)| *version);
        if of_moment {
            // Others write to the real server too, so that a moment is told apart only from what came before.
            return match self.versions.get(&version) {
                _ if version >= newest => "<version now>".to_owned(),
                Some(name) => name.clone(),
                None => "<version of the past>".to_owned(),
            };
        }
        if let Some(name) = self.versions.get(&version) {
            return name.clone();
        }
        let base = format!("version of {step}");
        let same = self.versions.values().filter(|name| name.contains(&base)).count();
        let number = if same == 0 { String::new() } else { format!(" #{}", same + 1) };
        let older = if version < newest { ", older than others before" } else { "" };
        let name = format!("<{base}{number}{older}>");
        self.versions.insert(version, name.clone());
        name
    }

    /// Messages show versions among words.
    fn message(&mut self, message: &str) -> String {
        let message = self.text(message);
        if !message.to_lowercase().contains("version") {
            return message;
        }
        let mut plain = String::new();
        let mut rest = message.as_str();
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let length = rest[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - start);
            let (before, number) = (&rest[..start], &rest[start..start + length]);
            plain.push_str(before);
            let known = number.parse().ok().and_then(|version| self.versions.get(&version));
            match known {
                _ if before.ends_with("current: ") => plain.push_str("<version now>"),
                Some(name) if before.ends_with(['(', ' ']) => plain.push_str(name),
                _ => plain.push_str(number),
            }
            rest = &rest[start + length..];
        }
        plain + rest
    }

    /// A continue token: what it says, not how it is written.
    fn token(&mut self, step: &str, token: &str) -> String {
        let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok();
        let Some(mut value) = decoded.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()) else {
            return token.to_owned();
        };
        if let Some(version) = value.get("rv").and_then(Value::as_i64) {
            value["rv"] = self.version(step, &version.to_string(), true).into();
        }
        self.walk_at(step, &mut value, false, "");
        value.to_string()
    }

    /// What a program printed: line by line, the fields of YAML and JSON it may hold, and columns without their widths.
    fn output(&mut self, step: &str, output: &str) -> String {
        // A whole document first, so that names are known.
        if let Ok(mut value) = serde_json::from_str::<Value>(output) {
            let is_list = value.get("items").is_some();
            self.walk(step, &mut value, is_list);
            return pretty(&value);
        }
        output.lines().map(|line| self.line(step, line) + "\n").collect()
    }

    fn line(&mut self, step: &str, line: &str) -> String {
        let trimmed = line.trim_start();
        let indent = &line[..line.len() - trimmed.len()];
        let (mark, field) = match trimmed.strip_prefix("- ") {
            Some(field) => ("- ", field),
            None if trimmed.starts_with(['+', '-']) => (&trimmed[..1], trimmed[1..].trim_start()),
            None => ("", trimmed),
        };
        if let Some((name, value)) = field.split_once(": ") {
            let bare = value.trim_matches(['"', ',']);
            let shown = match name.trim_matches('"') {
                "resourceVersion" => Some(self.version(step, bare, false)),
                "uid" if is_uid(bare) => {
                    self.name(bare.to_owned(), format!("<uid of {step}>"));
                    Some(self.text(bare))
                }
                name if TIMES.contains(&name) && is_time(bare) => Some("<time>".to_owned()),
                _ => None,
            };
            if let Some(shown) = shown {
                return format!("{indent}{mark}{name}: {shown}");
            }
        }
        let line = self.text(line);
        let words: Vec<&str> = line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
        let shown = words.into_iter().map(|word| match word {
            _ if is_age(word) => "<age>",
            _ if is_time(word) => "<time>",
            _ => word,
        });
        format!("{indent}{}", shown.collect::<Vec<_>>().join("  "))
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Names of {} at {}", self.namespace, self.address)
    }
}

/// Lists that kube-apiserver gives in an order of its own making.
fn settle_order(fields: &mut serde_json::Map<String, Value>) {
    if let Some(Value::Array(entries)) = fields.get_mut("managedFields") {
        entries.sort_by_key(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            (text("operation"), text("manager"), text("subresource"), text("apiVersion"))
        });
    }
    if let Some(Value::Array(causes)) = fields.get_mut("causes")
        && causes.iter().all(|cause| cause["reason"] == "FieldManagerConflict")
    {
        causes.sort_by_key(|cause| (cause["field"].to_string(), cause["message"].to_string()));
    }
    if let Some(Value::Array(columns)) = fields.get_mut("columnDefinitions") {
        columns.iter_mut().filter_map(Value::as_object_mut).for_each(|column| drop(column.remove("description")));
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn is_uid(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if [8, 13, 18, 23].contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

fn is_time(text: &str) -> bool {
    text.len() >= 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z')
}

/// `5s`, `2m3s`, and `5s (x2 over 7s)` are for another day.
fn is_age(text: &str) -> bool {
    text.len() >= 2
        && text.ends_with('s')
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b's' || byte == b'm')
}
