//! A request's query parameters, and the options of a write among them.
//!
//! Checks what apimachinery's validation of CreateOptions, UpdateOptions and PatchOptions checks; everything else passes.

use crate::status::{FieldError, Refusal, Result};

/// Longest field manager (metav1 `FieldManagerMaxLength`).
const FIELD_MANAGER_CHARACTERS_MAX: usize = 128;

/// Decoded query parameters in their order.
#[derive(Debug, Default, Clone)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(raw: &str) -> Self {
        Self(form_urlencoded::parse(raw.as_bytes()).into_owned().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter that may be given more than once; `None` if it is not given.
    pub(crate) fn all(&self, name: &str) -> Option<Vec<String>> {
        let values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone());
        Some(values.collect()).filter(|values: &Vec<String>| !values.is_empty())
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// A boolean parameter, as apimachinery reads it: given and neither "false" nor "0" is true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|text| text != "0" && !text.eq_ignore_ascii_case("false"))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| Refusal::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        }
    }
}

/// What to do about fields a kind does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// The parameters every write takes.
#[derive(Debug, Clone)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) validation: FieldValidation,
    /// As given; empty leaves it to the user agent.
    pub(crate) field_manager: String,
}

impl WriteOptions {
    /// A deletion writes nothing that is validated or owned; all that is asked of it stands in its `DeleteOptions`.
    pub(crate) const fn of_deletion(dry_run: bool) -> Self {
        Self { dry_run, validation: FieldValidation::Ignore, field_manager: String::new() }
    }

    /// `kind` names the options in messages: `CreateOptions`, `UpdateOptions`, `PatchOptions`.
    pub(crate) fn parse(query: &Query, kind: &str) -> Result<Self> {
        let mut errors = Vec::new();
        let dry_run = query.all("dryRun").unwrap_or_default();
        errors.extend(dry_run_error(&dry_run));
        let validation = match query.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                errors.push(FieldError::not_supported("fieldValidation", other, &["", "Ignore", "Strict", "Warn"]));
                FieldValidation::Warn
            }
        };
        let field_manager = query.text("fieldManager").to_owned();
        if field_manager.chars().count() > FIELD_MANAGER_CHARACTERS_MAX {
            errors.push(FieldError::too_long("fieldManager", FIELD_MANAGER_CHARACTERS_MAX));
        }
        if let Some((at, character)) = field_manager.chars().enumerate().find(|(_, character)| character.is_control()) {
            let why = format!("invalid character U+{:04X} (at position {at})", u32::from(character));
            let quoted: String = field_manager.chars().map(go_quoted).collect();
            errors.push(FieldError::invalid("fieldManager", &format!("\"{quoted}\""), &why));
        }
        if errors.is_empty() {
            Ok(Self { dry_run: !dry_run.is_empty(), validation, field_manager })
        } else {
            Err(Refusal::invalid(kind, "meta.k8s.io", "", &errors))
        }
    }
}

/// Dry runs are of everything; each other value is shown with all that were given.
pub(crate) fn dry_run_error(values: &[String]) -> Option<FieldError> {
    let only_all = values.iter().all(|value| value == "All");
    (!only_all).then(|| FieldError::not_supported_value("dryRun", &serde_json::json!(values), &["All"]))
}

/// A character as Go's `%q` writes it.
fn go_quoted(character: char) -> String {
    match character {
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        '\r' => "\\r".to_owned(),
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        control if control.is_control() => format!("\\x{:02x}", u32::from(control)),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_mean_nothing_are_refused_by_name() {
        for (query, field) in [
            ("dryRun=Some", "dryRun"),
            ("fieldValidation=strict", "fieldValidation"),
            ("fieldManager=a%0Ab", "fieldManager"),
        ] {
            let refusal = WriteOptions::parse(&Query::parse(query), "CreateOptions").unwrap_err();
            assert_eq!(refusal.code, 422, "{query}");
            assert!(refusal.message.starts_with("CreateOptions.meta.k8s.io \"\" is invalid: "), "{}", refusal.message);
            assert!(refusal.message.contains(field), "{}", refusal.message);
        }
    }

    #[test]
    fn unknown_fields_are_warned_about_unless_told_otherwise() {
        let options = WriteOptions::parse(&Query::default(), "CreateOptions").unwrap();
        assert_eq!(options.validation, FieldValidation::Warn);
    }
}
