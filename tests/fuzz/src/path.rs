//! An object reference that a guest makes up, on its way into a request's path.

use arbitrary::{Result, Unstructured};
use http::Uri;
use tenure_cluster::ResourceKey;

/// Makes a resource and a reference of the input.
///
/// # Panics
/// When a path comes out that is not exactly the parts that went in, each in a segment of its own.
pub fn path(input: &[u8]) {
    let _ = check(&mut Unstructured::new(input));
}

fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let (namespaced, in_group): (bool, bool) = (input.arbitrary()?, input.arbitrary()?);
    let key = ResourceKey {
        group: if in_group { "apps".to_owned() } else { String::new() },
        version: "v1".to_owned(),
        plural: "things".to_owned(),
        kind: "Thing".to_owned(),
        namespaced,
    };
    let namespace: Option<&str> = input.arbitrary()?;
    let name: Option<&str> = input.arbitrary()?;
    let subresource: Option<&str> = input.arbitrary()?;
    let Ok(path) = key.path(namespace, name, subresource) else { return Ok(()) };
    let mut expected = if in_group { vec!["apis", "apps", "v1"] } else { vec!["api", "v1"] };
    expected.extend(namespace.iter().flat_map(|namespace| ["namespaces", namespace]));
    expected.push("things");
    expected.extend(name);
    expected.extend(subresource);
    let uri: Uri = path.parse().unwrap_or_else(|error| panic!("{path:?} is no path: {error}"));
    assert_eq!((uri.path(), uri.query(), uri.authority()), (path.as_str(), None, None));
    let segments: Vec<Vec<u8>> = uri.path().split('/').skip(1).map(decoded).collect();
    assert_eq!(segments, expected.iter().map(|part| part.as_bytes().to_vec()).collect::<Vec<_>>(), "{path:?}");
    assert!(expected.iter().all(|part| !["", ".", ".."].contains(part) && !part.contains('/')), "{path:?}");
    Ok(())
}

/// As a server reads a segment (RFC 3986, 2.1).
fn decoded(segment: &str) -> Vec<u8> {
    let mut rest = segment.bytes();
    let mut read = Vec::new();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let hex = [rest.next(), rest.next()].map(|digit| char::from(digit.expect("two digits")));
                u8::from_str_radix(&String::from_iter(hex), 16).expect("hex digits")
            }
            byte => byte,
        };
        read.push(byte);
    }
    read
}
