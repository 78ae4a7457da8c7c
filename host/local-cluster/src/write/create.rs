//! POST, and the PUT that creates.
//!
//! Order of the checks as in kube-apiserver: decoding, namespace, admission, strategy, validation, storage.

use rand::Rng;
use serde_json::Value;

use super::{Answer, Committed, Prepared, Writer, metadata};
use crate::defaults;
use crate::ownership;
use crate::status::{Refusal, Result};
use crate::store::Expected;
use crate::validation;

/// What a generated name's ending is drawn from (apimachinery `util/rand`): no vowels, so that no words come out.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_CHARACTERS: usize = 5;
/// Longest base of a generated name, in bytes (`maxGeneratedNameLength`).
const GENERATED_BASE_BYTES_MAX: usize = 58;
/// Generated names that may be taken before the create fails (`maxNameGenerationCreateAttempts`).
const GENERATED_ATTEMPTS_MAX: u32 = 8;

/// Whether an object's managedFields already speak of this write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    /// By an apply, which works them out itself.
    Recorded,
    ToRecord,
}

impl Writer<'_> {
    /// Creates the object a POST carries.
    pub(crate) fn create(&self, prepared: Prepared) -> Result<Answer> {
        let Prepared { mut value, warnings } = prepared;
        self.adopt_namespace(&mut value)?;
        if !matches!(metadata::of(&value).resource_version(), "" | "0") {
            // The API server lets this one through to its storage, whose error has no reason.
            return Err(Refusal::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        let generated = metadata::of(&value).name().is_empty();
        let has_base = !metadata::of(&value).text("generateName").is_empty();
        let mut attempts_left = GENERATED_ATTEMPTS_MAX;
        loop {
            let mut attempt = value.clone();
            if generated {
                generate_name(&mut attempt);
            }
            match self.create_named(attempt, warnings.clone(), Ownership::ToRecord) {
                Err(refusal) if generated && refusal.reason == "AlreadyExists" && attempts_left > 1 => {
                    attempts_left -= 1;
                }
                Err(refusal) if has_base && refusal.reason == "AlreadyExists" => {
                    return Err(Refusal::not_generated(self.resource, refusal.name()));
                }
                answer => return answer,
            }
        }
    }

    /// Creates an object whose name is settled.
    pub(super) fn create_named(&self, mut value: Value, warnings: Vec<String>, owned: Ownership) -> Result<Answer> {
        let key = self.key(metadata::of(&value).name());
        self.refuse_unsupported(&value)?;
        self.admit_into_namespace(&key.name)?;
        self.fill_system_fields(&mut value);
        if owned == Ownership::ToRecord {
            // What the server's own strategy adds afterwards is nobody's.
            defaults::fill_declared(self.resource, &mut value);
            ownership::after_update(&self.ownership(), None, &mut value);
        }
        defaults::fill_new(self.resource, &mut value);
        self.allocate(&mut value);
        let errors = validation::of_new(self.resource, &value);
        if !errors.is_empty() {
            return Err(Refusal::invalid(self.resource.kind, self.resource.stored_group(), &key.name, &errors));
        }
        if self.options.dry_run {
            return match self.store.get(self.resource.collection, &key) {
                Some(_) => Err(self.already_exists(&key)),
                None => Ok(self.unstored(201, value, 0, warnings)),
            };
        }
        match self.commit(&key, Expected::Absent, Some(value), 201)? {
            Committed::Stored(object) => Ok(Self::stored(201, object, warnings)),
            Committed::Moved => Err(self.already_exists(&key)),
        }
    }

    fn already_exists(&self, key: &crate::object::Key) -> Refusal {
        let mut refusal = Refusal::already_exists(self.resource, &key.name);
        if self.existing(key).is_some_and(|existing| metadata::of(&existing.value).is_deleting()) {
            refusal.message.insert_str(0, "object is being deleted: ");
        }
        refusal
    }

    /// The NamespaceLifecycle admission, ahead of validation; the commit looks again.
    fn admit_into_namespace(&self, name: &str) -> Result<()> {
        if self.namespace.is_empty() {
            return Ok(());
        }
        let collection = crate::resource::Collection::Namespaces;
        let namespace = self.store.get(collection, &crate::object::Key::new("", self.namespace));
        let namespace = namespace.ok_or_else(|| self.namespace_missing())?;
        if namespace.fields.first().is_some_and(|phase| &**phase == "Terminating") {
            return Err(self.namespace_terminating(name));
        }
        Ok(())
    }

    fn fill_system_fields(&self, value: &mut Value) {
        let metadata = metadata::of_mut(value);
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
            metadata.remove(field);
        }
        metadata.insert("uid".to_owned(), new_uid().into());
        metadata.insert("creationTimestamp".to_owned(), self.now_text().into());
    }
}

fn generate_name(value: &mut Value) {
    let mut name = metadata::of(value).text("generateName").to_owned();
    if name.is_empty() {
        return;
    }
    let mut cut = name.len().min(GENERATED_BASE_BYTES_MAX);
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    name.truncate(cut);
    let mut random = rand::rng();
    for _ in 0..SUFFIX_CHARACTERS {
        let index = random.next_u32() as usize % SUFFIX_ALPHABET.len();
        name.push(char::from(SUFFIX_ALPHABET[index]));
    }
    metadata::of_mut(value).insert("name".to_owned(), name.into());
}

/// A random UUID (RFC 9562 version 4).
fn new_uid() -> String {
    let mut bytes = [0_u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
