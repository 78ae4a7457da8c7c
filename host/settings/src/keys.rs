//! Which keys a table knows: asked of the very type that reads it, so that messages cannot fall behind.

use serde::de::value::Error;
use serde::{Deserializer, de, forward_to_deserialize_any};

/// The keys of a struct, as they are written; empty for anything else.
pub(crate) fn keys_of<T: de::DeserializeOwned>() -> &'static [&'static str] {
    let mut keys: &'static [&'static str] = &[];
    // Reading fails by design, once the type has said what it looks for.
    let _ = T::deserialize(Keys(&mut keys));
    keys
}

/// A deserializer that has nothing to read, and notes which keys are asked for.
struct Keys<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Keys<'_> {
    type Error = Error;

    fn deserialize_struct<V: de::Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = keys;
        Err(de::Error::custom("only the keys were asked for"))
    }

    fn deserialize_any<V: de::Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("only the keys were asked for"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
