//! A scheduler config with its class's defaults filled in, read field by field.

use super::{
    classes::{CLASSES, Class},
    read::ReadError,
};
use serde_json::{Map, Value};

pub(super) struct Fields {
    pub class: &'static Class,
    map: Map<String, Value>,
    /// Fields of the config that the class does not have; diffusers ignores them too.
    pub unknown: Vec<String>,
}

impl Fields {
    pub(super) fn new(config: &Value) -> Result<Self, ReadError> {
        let Value::Object(config) = config else {
            return Err(ReadError::Json(format!("a scheduler config is an object, this is {config}")));
        };
        let Some(Value::String(name)) = config.get("_class_name") else {
            return Err(ReadError::Json("`_class_name` is missing: it names the scheduler".to_owned()));
        };
        let class: &'static Class = Class::find(name).ok_or_else(|| ReadError::Class {
            class: name.clone(),
            hint: crate::registry::did_you_mean(name, CLASSES.into_iter()),
            known: CLASSES.join(", "),
        })?;
        let mut map = Map::new();
        for defaults in class.defaults {
            let defaults: Map<String, Value> = serde_json::from_str(defaults).unwrap_or_default();
            map.extend(defaults);
        }
        let mut unknown = Vec::new();
        for (key, value) in config {
            if map.contains_key(key) {
                map.insert(key.clone(), value.clone());
            } else if !key.starts_with('_') {
                unknown.push(key.clone());
            }
        }
        Ok(Self { class, map, unknown })
    }

    /// The value of a field; null where the class has no such field.
    pub fn value(&self, field: &str) -> &Value {
        self.map.get(field).unwrap_or(&Value::Null)
    }

    /// Whether the class has such a field.
    pub fn has(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    pub fn wrong(&self, field: &'static str, expected: &str) -> ReadError {
        ReadError::Value {
            class: self.class.name,
            field,
            value: self.value(field).to_string(),
            expected: expected.to_owned(),
        }
    }

    pub(super) fn number(&self, field: &'static str) -> Result<f64, ReadError> {
        self.value(field).as_f64().ok_or_else(|| self.wrong(field, "a number"))
    }

    pub(super) fn optional_number(&self, field: &'static str) -> Result<Option<f64>, ReadError> {
        if self.value(field).is_null() { Ok(None) } else { self.number(field).map(Some) }
    }

    pub(super) fn count(&self, field: &'static str) -> Result<usize, ReadError> {
        let count = self.value(field).as_u64().and_then(|n| usize::try_from(n).ok());
        count.ok_or_else(|| self.wrong(field, "a whole number"))
    }

    /// A truth value; false where the class has no such field.
    pub(super) fn flag(&self, field: &'static str) -> Result<bool, ReadError> {
        match self.value(field) {
            Value::Bool(flag) => Ok(*flag),
            Value::Null => Ok(false),
            _ => Err(self.wrong(field, "true or false")),
        }
    }

    /// One of several words, as what it stands for; other words are refused with the list.
    pub(super) fn choice<T: Clone>(&self, field: &'static str, choices: &[(&str, T)]) -> Result<T, ReadError> {
        let word = self.value(field).as_str();
        choices.iter().find(|(name, _)| Some(*name) == word).map(|(_, value)| value.clone()).ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.wrong(field, &names.join(", "))
        })
    }

    /// Refuses a field that the class has and whose value is not the one that is supported.
    pub(super) fn only(&self, field: &'static str, supported: &Value) -> Result<(), ReadError> {
        let Some(value) = self.map.get(field) else { return Ok(()) };
        let equal = value == supported || (value.as_f64().is_some() && value.as_f64() == supported.as_f64());
        if equal { Ok(()) } else { Err(self.wrong(field, &supported.to_string())) }
    }
}
