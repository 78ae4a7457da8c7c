//! Grants: nothing is allowed that a plain reading of the rules denies.

use arbitrary::{Result, Unstructured};
use tenure_capability::plain_reading::{self, GROUPS, NAMES, NAMESPACES, PATTERNS, RESOURCES, SUBRESOURCES, VERBS};
use tenure_capability::{Capability, PLUGIN_LABEL, Request, Rule, Verb, missing};

/// Letters of words that are made up.
const LETTERS: [char; 8] = ['a', 'b', 't', '-', '.', '*', '/', '?'];
const RULES_MAX: usize = 4;

/// Makes rules and a request of the input.
///
/// # Panics
/// When the request is allowed, and a plain reading denies it.
pub fn grant(input: &[u8]) {
    // An input that is too short is none.
    let _ = check(&mut Unstructured::new(input));
}

fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let (granted, requested) = (rules(input)?, rules(input)?);
    let group = word(input, &GROUPS)?;
    let resource = word(input, &RESOURCES)?;
    let subresource = if input.ratio(1, 5)? { Some(word(input, &SUBRESOURCES)?) } else { None };
    let namespace = if input.ratio(4, 5)? { Some(word(input, &NAMESPACES)?) } else { None };
    let name = if input.ratio(1, 2)? { Some(word(input, &NAMES)?) } else { None };
    let labels = if input.ratio(1, 10)? { vec![(PLUGIN_LABEL.to_owned(), "true".to_owned())] } else { Vec::new() };
    let asked = Request {
        verb: *input.choose(&Verb::ALL)?,
        group: &group,
        resource: &resource,
        subresource: subresource.as_deref(),
        namespace: namespace.as_deref(),
        name: name.as_deref(),
        labels_written: &labels,
    };
    let allows = |rules: &[Rule]| {
        let capability = Capability::new(rules.to_vec(), plain_reading::protected()).ok()?;
        let allowed = capability.decide(&asked).is_allowed();
        assert!(!allowed || plain_reading::allows(rules, &asked), "{asked:?} by {rules:?}");
        Some(allowed)
    };
    let (Some(by_grant), Some(by_request)) = (allows(&granted), allows(&requested)) else { return Ok(()) };
    // What a manifest may do after its grant was found to cover it is no more than the grant.
    assert!(
        !by_request || by_grant || !missing(&requested, &granted).is_empty(),
        "{asked:?}: {requested:?} passes for covered by {granted:?}"
    );
    Ok(())
}

fn rules(input: &mut Unstructured<'_>) -> Result<Vec<Rule>> {
    let count = input.int_in_range(0..=RULES_MAX)?;
    (0..count).map(|_| rule(input)).collect()
}

fn rule(input: &mut Unstructured<'_>) -> Result<Rule> {
    Ok(Rule {
        api_groups: words(input, &GROUPS, 1)?,
        resources: words(input, &RESOURCES, 1)?
            .into_iter()
            .map(|resource| match input.ratio(1, 4) {
                Ok(true) => Ok(format!("{resource}/{}", word(input, &SUBRESOURCES)?)),
                _ => Ok(resource),
            })
            .collect::<Result<_>>()?,
        verbs: words(input, &VERBS, 1)?,
        namespaces: words(input, &PATTERNS, 0)?,
        resource_names: words(input, &NAMES, 0)?,
    })
}

fn words(input: &mut Unstructured<'_>, known: &[&str], at_least: usize) -> Result<Vec<String>> {
    let count = input.int_in_range(at_least..=2)?;
    (0..count).map(|_| if input.ratio(1, 6)? { Ok("*".to_owned()) } else { word(input, known) }).collect()
}

/// One that means something, or one that is made up.
fn word(input: &mut Unstructured<'_>, known: &[&str]) -> Result<String> {
    if input.ratio(5, 6)? {
        return Ok((*input.choose(known)?).to_owned());
    }
    let length = input.int_in_range(0..=6)?;
    (0..length).map(|_| Ok(*input.choose(&LETTERS)?)).collect()
}
