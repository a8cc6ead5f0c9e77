//! Checks a record against the compiled OCSF schema. What the validator does not understand is a problem, too.

use std::path::Path;

use serde_json::{Map, Value};

/// Where the schema lies, beside the repository.
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/ocsf/schema-1.8.0.json");

pub(crate) struct Schema(Value);

struct Site<'a> {
    path: String,
    profiles: &'a [&'a str],
}

impl Schema {
    /// The schema; `None`, with a note on standard error, where it is absent.
    ///
    /// `SESSIONWARDEN_REQUIRE_DATA=1` makes its absence a failure.
    pub(crate) fn load() -> Option<Self> {
        if !Path::new(SCHEMA).exists() {
            assert_ne!(
                std::env::var("SESSIONWARDEN_REQUIRE_DATA").as_deref(),
                Ok("1"),
                "SESSIONWARDEN_REQUIRE_DATA=1, but the OCSF schema is absent: {SCHEMA}"
            );
            eprintln!("NOT RUN: the OCSF schema is absent, no record was checked: {SCHEMA}");
            return None;
        }
        let text = std::fs::read_to_string(SCHEMA).unwrap();
        Some(Self(serde_json::from_str(&text).unwrap()))
    }

    /// Everything that is wrong with the record; empty for a valid one.
    pub(crate) fn problems(&self, record: &Value) -> Vec<String> {
        let classes = self.0["classes"].as_object().unwrap();
        let Some(class) = classes.values().find(|class| class["uid"] == record["class_uid"]) else {
            return vec![format!("class_uid {} is no class", record["class_uid"])];
        };
        let mut problems = Vec::new();
        let profiles: Vec<&str> = strings(&record["metadata"]["profiles"]);
        let offered = strings(&class["profiles"]);
        for profile in profiles.iter().filter(|profile| !offered.contains(profile)) {
            problems.push(format!("the class has no profile {profile}"));
        }
        if record["metadata"]["version"] != self.0["version"] {
            problems.push(format!("metadata.version is not {}", self.0["version"]));
        }
        let number = |name: &str| record[name].as_i64().unwrap_or(-1);
        if number("type_uid") != number("class_uid") * 100 + number("activity_id") {
            problems.push("type_uid is not class_uid * 100 + activity_id".to_owned());
        }
        self.object(class, record, &Site { path: String::new(), profiles: &profiles }, &mut problems);
        problems
    }

    fn object(&self, definition: &Value, value: &Value, site: &Site<'_>, problems: &mut Vec<String>) {
        let (path, attributes) = (&site.path, &definition["attributes"]);
        let Some(value) = value.as_object() else {
            return problems.push(format!("{path}: not an object"));
        };
        for (name, value) in value {
            let attribute = &attributes[name];
            let inner = Site { path: format!("{path}.{name}"), profiles: site.profiles };
            if attribute.is_null() {
                problems.push(format!("{path}: unknown attribute {name}"));
                continue;
            }
            if !attribute["@deprecated"].is_null() {
                problems.push(format!("{}: deprecated", inner.path));
            }
            if !in_profile(attribute, site) {
                problems.push(format!("{}: of the undeclared profile {}", inner.path, attribute["profile"]));
            }
            self.attribute(attribute, value, &inner, problems);
        }
        for (name, attribute) in attributes.as_object().unwrap() {
            if attribute["requirement"] == "required" && in_profile(attribute, site) && !value.contains_key(name) {
                problems.push(format!("{path}: required {name} is absent"));
            }
            captions(name, attribute, value, path, problems);
        }
        constraints(&definition["constraints"], value, path, problems);
    }

    fn attribute(&self, attribute: &Value, value: &Value, site: &Site<'_>, problems: &mut Vec<String>) {
        if attribute["is_array"] != true {
            return self.value(attribute, value, site, problems);
        }
        match value.as_array() {
            Some(items) if items.is_empty() => problems.push(format!("{}: empty list", site.path)),
            Some(items) => items.iter().for_each(|item| self.value(attribute, item, site, problems)),
            None => problems.push(format!("{}: not a list", site.path)),
        }
    }

    fn value(&self, attribute: &Value, value: &Value, site: &Site<'_>, problems: &mut Vec<String>) {
        let (path, kind) = (&site.path, attribute["type"].as_str().unwrap());
        if let Some(allowed) = attribute["enum"].as_object() {
            let key = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if !allowed.contains_key(&key) {
                problems.push(format!("{path}: {value} is not in the enumeration"));
            }
        }
        match kind {
            "json_t" => {}
            "object" if value.is_object() => {}
            "object" => problems.push(format!("{path}: not an object")),
            _ => match self.0["objects"].get(kind) {
                Some(definition) => self.object(definition, value, site, problems),
                None => self.scalar(kind, value, path, problems),
            },
        }
    }

    fn scalar(&self, kind: &str, value: &Value, path: &str, problems: &mut Vec<String>) {
        let definition = &self.0["types"][kind];
        let base = definition["type"].as_str().unwrap_or(kind);
        let plain = ["regex", "range", "values", "max_len"].iter().all(|limit| definition[limit].is_null());
        let fits = match base {
            _ if definition.is_null() || !(plain || kind == "boolean_t") => {
                return problems.push(format!("{path}: this validator does not know the type {kind}"));
            }
            "string_t" => value.as_str().is_some_and(|text| !text.is_empty()),
            "integer_t" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            "long_t" => value.is_i64(),
            "boolean_t" => value.is_boolean(),
            _ => false,
        };
        if !fits {
            problems.push(format!("{path}: {value} is not a {kind}"));
        }
    }
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn in_profile(attribute: &Value, site: &Site<'_>) -> bool {
    attribute["profile"].as_str().is_none_or(|profile| site.profiles.contains(&profile))
}

/// The text beside a number (`status` beside `status_id`) is the number's caption, unless the number is 99 (Other).
fn captions(name: &str, attribute: &Value, value: &Map<String, Value>, path: &str, problems: &mut Vec<String>) {
    let (Some(id), Some(sibling)) = (value.get(name), attribute["sibling"].as_str()) else { return };
    let caption = &attribute["enum"][id.to_string()]["caption"];
    if let Some(text) = value.get(sibling)
        && *id != 99
        && text != caption
    {
        problems.push(format!("{path}.{sibling}: {text} is not {caption}"));
    }
}

fn constraints(constraints: &Value, value: &Map<String, Value>, path: &str, problems: &mut Vec<String>) {
    for (rule, names) in constraints.as_object().into_iter().flatten() {
        let names = strings(names);
        let present = names.iter().filter(|name| value.contains_key(**name)).count();
        let kept = match rule.as_str() {
            "at_least_one" => present >= 1,
            "just_one" => present == 1,
            _ => false,
        };
        if !kept {
            problems.push(format!("{path}: {rule} of {names:?}"));
        }
    }
}
