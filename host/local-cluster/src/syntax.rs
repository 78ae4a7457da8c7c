//! The shapes of names, labels and keys, and the sentences that say what is wrong with one.
//!
//! Pure functions from text to complaints (apimachinery `util/validation`); an empty answer means the text is fine.

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
    and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
    and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_FROM_A_LETTER: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
    alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation \
    is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
    an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
    validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  \
    or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// Longest DNS subdomain in bytes (RFC 1123), and so the longest name of most objects.
pub(crate) const SUBDOMAIN_BYTES_MAX: usize = 253;
/// Longest DNS label, label value and name part of a label key, in bytes.
pub(crate) const LABEL_BYTES_MAX: usize = 63;

fn too_long(bytes_max: usize) -> String {
    format!("must be no more than {bytes_max} bytes")
}

fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.first().is_some_and(edge) && bytes.last().is_some_and(edge) && bytes.iter().all(|b| edge(b) || *b == b'-')
}

/// A DNS subdomain: what most objects' names are.
pub(crate) fn dns_subdomain(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if text.len() > SUBDOMAIN_BYTES_MAX {
        complaints.push(format!("must be no more than {SUBDOMAIN_BYTES_MAX} characters"));
    }
    if !text.split('.').all(is_dns_label) {
        complaints.push(SUBDOMAIN.to_owned());
    }
    complaints
}

/// A DNS label: what namespaces' names are.
pub(crate) fn dns_label(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if text.len() > LABEL_BYTES_MAX {
        complaints.push(too_long(LABEL_BYTES_MAX));
    }
    if !is_dns_label(text) {
        complaints.push(LABEL.to_owned());
    }
    complaints
}

/// A DNS label that starts with a letter: what services' names are (RFC 1035).
pub(crate) fn dns_label_from_a_letter(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if text.len() > LABEL_BYTES_MAX {
        complaints.push(too_long(LABEL_BYTES_MAX));
    }
    if !is_dns_label(text) || !text.starts_with(|first: char| first.is_ascii_lowercase()) {
        complaints.push(LABEL_FROM_A_LETTER.to_owned());
    }
    complaints
}

fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// A key of a label, or of an annotation: a qualified name, told as what it is.
pub(crate) fn label_key(text: &str) -> Vec<String> {
    qualified("a valid label key", text)
}

/// An optional DNS subdomain, a slash, a name.
pub(crate) fn qualified_name(text: &str) -> Vec<String> {
    qualified("a qualified name", text)
}

fn qualified(what: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                complaints.push("prefix part must be non-empty".to_owned());
            } else {
                complaints.extend(dns_subdomain(prefix).into_iter().map(|why| format!("prefix part {why}")));
            }
            name
        }
        _ => {
            let with_prefix = NAME_PART.strip_prefix("name part ").unwrap_or(NAME_PART);
            complaints.push(format!(
                "{what} {with_prefix} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return complaints;
        }
    };
    if name.is_empty() {
        complaints.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_BYTES_MAX {
        complaints.push(format!("name part {}", too_long(LABEL_BYTES_MAX)));
    }
    if !is_name_part(name) {
        complaints.push(NAME_PART.to_owned());
    }
    complaints
}

/// A label's value.
pub(crate) fn label_value(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if text.len() > LABEL_BYTES_MAX {
        complaints.push(too_long(LABEL_BYTES_MAX));
    }
    if !text.is_empty() && !is_name_part(text) {
        complaints.push(LABEL_VALUE.to_owned());
    }
    complaints
}

/// A key of a ConfigMap's or Secret's data.
pub(crate) fn config_key(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if text.len() > SUBDOMAIN_BYTES_MAX {
        complaints.push(too_long(SUBDOMAIN_BYTES_MAX));
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        complaints.push(CONFIG_KEY.to_owned());
    } else if text == "." || text == ".." {
        complaints.push(format!("must not be '{text}'"));
    } else if text.starts_with("..") {
        complaints.push("must not start with '..'".to_owned());
    }
    complaints
}

/// A name in a URL's path (`path.IsValidPathSegmentName`): what events are held to.
pub(crate) fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"].iter().filter(|illegal| text.contains(**illegal)).map(|c| format!("may not contain '{c}'")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_pass() {
        for name in ["a", "a-b", "a.b-c.d", "0", "kube-root-ca.crt"] {
            assert!(dns_subdomain(name).is_empty(), "{name}");
        }
        for key in ["app", "tenure.dev/plugin", "A_b.c", "example.com/MyName"] {
            assert!(qualified_name(key).is_empty(), "{key}");
        }
        for value in ["", "a", "A_b.c"] {
            assert!(label_value(value).is_empty(), "{value}");
        }
        assert!(config_key("plugin.toml").is_empty());
    }

    #[test]
    fn bad_names_are_refused() {
        for name in ["", "A", "-a", "a-", "a..b", "a_b", ".a", &"a".repeat(254)] {
            assert!(!dns_subdomain(name).is_empty(), "{name}");
        }
        assert!(!dns_label("a.b").is_empty());
        for key in ["", "/a", "a/", "a/b/c", "A/b", "-a", &"a".repeat(64)] {
            assert!(!qualified_name(key).is_empty(), "{key}");
        }
        for key in ["", "a/b", "..", ".", "..a", "a b"] {
            assert!(!config_key(key).is_empty(), "{key}");
        }
    }
}
