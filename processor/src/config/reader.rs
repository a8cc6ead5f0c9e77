//! Reads settings one by one from the file and the environment, and remembers what was asked for: what is left at the
//! end is unknown.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    check::Checked,
    error::{ConfigError, Place, place_in, suggest},
    values::{kind_of, text_of, texts_of},
};

const PREFIX: &str = "SESSIONWARDEN_";

/// A parsed file and where it came from.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    pub(super) table: &'a DeTable<'a>,
}

/// One setting's value as it was written.
enum Raw<'a> {
    File(&'a Spanned<DeValue<'a>>),
    Environment(&'a str),
}

/// All settings, and the errors met while reading them.
pub(super) struct Reader<'a> {
    file: Option<File<'a>>,
    environment: BTreeMap<String, String>,
    known: BTreeMap<&'static str, BTreeSet<&'static str>>,
    /// The keys of each table in a section that holds nothing but tables, under names that users choose.
    known_in_tables: BTreeMap<&'static str, BTreeSet<&'static str>>,
    errors: Vec<ConfigError>,
}

/// The settings of one section, or of one table in a section of tables, which only a file can have.
pub(super) struct Section<'r, 'a> {
    reader: &'r mut Reader<'a>,
    name: &'static str,
    table: Option<&'r str>,
}

fn variable(section: &str, key: &str) -> String {
    format!("{PREFIX}{}__{}", section.to_uppercase(), key.to_uppercase())
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: Option<File<'a>>, environment: impl Iterator<Item = (String, String)>) -> Self {
        let environment = environment.filter(|(name, _)| name.starts_with(PREFIX)).collect();
        let (known, known_in_tables) = (BTreeMap::new(), BTreeMap::new());
        Self { file, environment, known, known_in_tables, errors: Vec::new() }
    }

    pub(super) fn section(&mut self, name: &'static str) -> Section<'_, 'a> {
        self.known.entry(name).or_default();
        Section { reader: self, name, table: None }
    }

    /// The names of the tables in a section of tables, sorted, and where they stand.
    pub(super) fn tables(&mut self, name: &'static str) -> Vec<(String, Place)> {
        self.known_in_tables.entry(name).or_default();
        let Some(file) = self.file else { return Vec::new() };
        let section = file.table.get(name).and_then(|section| section.get_ref().as_table());
        let entries = section.into_iter().flat_map(|section| section.iter());
        let tables = entries.filter(|(_, table)| table.get_ref().is_table());
        tables.map(|(key, _)| (key.get_ref().to_string(), place_in(file.path, file.text, &key.span()))).collect()
    }

    /// One of these tables.
    pub(super) fn table<'r>(&'r mut self, name: &'static str, table: &'r str) -> Section<'r, 'a> {
        self.known_in_tables.entry(name).or_default();
        Section { reader: self, name, table: Some(table) }
    }

    pub(super) fn error(&mut self, place: Place, problem: String, hint: Option<String>) {
        self.errors.push(ConfigError { place, problem, hint });
    }

    /// Every key that was asked for, as `section.key`.
    pub(super) fn keys(&self) -> Vec<String> {
        self.known.iter().flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}.{key}"))).collect()
    }

    /// The errors, those about unknown keys included.
    pub(super) fn finish(mut self) -> Vec<ConfigError> {
        self.report_unknown_in_file();
        self.report_unknown_in_environment();
        self.errors
    }

    fn report_unknown_in_file(&mut self) {
        let Some(file) = self.file else { return };
        for (section, value) in file.table {
            let name = section.get_ref().as_ref();
            let place = place_in(file.path, file.text, &section.span());
            let in_tables = self.known_in_tables.get(name);
            let Some(keys) = self.known.get(name).or(in_tables) else {
                let names = self.known.keys().chain(self.known_in_tables.keys());
                let hint = suggest(name, names.copied()).or_else(|| self.section_of(name));
                self.errors.push(ConfigError { place, problem: format!("unknown section or key `{name}`"), hint });
                continue;
            };
            let Some(table) = value.get_ref().as_table() else {
                let problem = format!("`{name}` is {}, but must be a section", kind_of(value.get_ref()));
                self.errors.push(ConfigError { place, problem, hint: Some(format!("write `[{name}]`")) });
                continue;
            };
            let mut found = Vec::new();
            if in_tables.is_none() {
                self.unknown_keys(file, name, table, keys, &mut found);
            } else {
                for (key, value) in table {
                    let label = format!("{name}.{}", key.get_ref());
                    if let Some(table) = value.get_ref().as_table() {
                        self.unknown_keys(file, &label, table, keys, &mut found);
                        continue;
                    }
                    let problem = format!("`{label}` is {}, but must be a section", kind_of(value.get_ref()));
                    let hint = Some(format!("write `[{name}.NAME]`, with settings below it"));
                    found.push(ConfigError { place: place_in(file.path, file.text, &key.span()), problem, hint });
                }
            }
            self.errors.append(&mut found);
        }
    }

    fn unknown_keys(
        &self,
        file: File<'_>,
        label: &str,
        table: &DeTable<'_>,
        keys: &BTreeSet<&'static str>,
        found: &mut Vec<ConfigError>,
    ) {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if keys.contains(name) {
                continue;
            }
            let hint = suggest(name, keys.iter().copied()).or_else(|| self.section_of(name));
            let place = place_in(file.path, file.text, &key.span());
            found.push(ConfigError { place, problem: format!("unknown key `{label}.{name}`"), hint });
        }
    }

    fn section_of(&self, key: &str) -> Option<String> {
        let (section, _) = self.known.iter().find(|(_, keys)| keys.contains(key))?;
        Some(format!("`{key}` belongs under `[{section}]`"))
    }

    fn report_unknown_in_environment(&mut self) {
        let known: Vec<String> =
            self.known.iter().flat_map(|(section, keys)| keys.iter().map(move |key| variable(section, key))).collect();
        for name in self.environment.keys().filter(|name| !known.contains(name)) {
            let hint = if name[PREFIX.len()..].contains("__") {
                suggest(name, known.iter().map(String::as_str))
            } else {
                // Kubernetes sets SESSIONWARDEN_SERVICE_HOST and the like for a service of that name: only what was
                // clearly meant as a setting is an error.
                let meant = known.iter().find(|known| known.replace("__", "_") == *name);
                let Some(meant) = meant else { continue };
                Some(format!("section and key are joined by two underscores: `{meant}`"))
            };
            let problem = "is not a setting".to_owned();
            self.errors.push(ConfigError { place: Place::Environment(name.clone()), problem, hint });
        }
    }
}

impl Section<'_, '_> {
    fn raw(&mut self, key: &'static str) -> Option<(Raw<'_>, Place)> {
        let known = if self.table.is_none() { &mut self.reader.known } else { &mut self.reader.known_in_tables };
        known.entry(self.name).or_default().insert(key);
        let variable = variable(self.name, key);
        if self.table.is_none()
            && let Some(value) = self.reader.environment.get(&variable)
        {
            return Some((Raw::Environment(value), Place::Environment(variable)));
        }
        let file = self.reader.file?;
        let mut section = file.table.get(self.name)?.get_ref().as_table()?;
        if let Some(table) = self.table {
            section = section.get(table)?.get_ref().as_table()?;
        }
        let value = section.get(key)?;
        Some((Raw::File(value), place_in(file.path, file.text, &value.span())))
    }

    /// A setting's name, with that of its section.
    pub(super) fn label(&self, key: &str) -> String {
        match self.table {
            Some(table) => format!("`{}.{table}.{key}`", self.name),
            None => format!("`{}.{key}`", self.name),
        }
    }

    /// Where the setting stands, for checks that involve several.
    pub(super) fn place(&mut self, key: &'static str) -> Place {
        self.raw(key).map_or(Place::Default, |(_, place)| place)
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.reader.errors.len()
    }

    pub(super) fn error(&mut self, place: Place, problem: String, hint: Option<String>) {
        self.reader.error(place, problem, hint);
    }

    /// That the first of two settings is not above the second.
    pub(super) fn check_order(&mut self, low: (&'static str, u64), high: (&'static str, u64), hint: &str) {
        if low.1 <= high.1 {
            return;
        }
        let place = match self.place(high.0) {
            Place::Default => self.place(low.0),
            place => place,
        };
        let problem = format!("({}) is below {} ({})", high.1, self.label(low.0), low.1);
        self.wrong(place, high.0, &problem, Some(hint.to_owned()));
    }

    fn wrong(&mut self, place: Place, key: &str, problem: &str, hint: Option<String>) {
        let problem = format!("{} {problem}", self.label(key));
        self.error(place, problem, hint);
    }

    /// A whole number within `range`.
    pub(super) fn whole<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: PartialOrd + std::fmt::Display + TryFrom<u64>,
    {
        let (raw, place) = self.raw(key)?;
        let number: Result<i128, String> = match raw {
            Raw::Environment(text) => text.trim().parse().map_err(|_| format!("is not a whole number: `{text}`")),
            Raw::File(value) => match value.get_ref() {
                DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
                    .map_err(|_| format!("is not a whole number: `{integer}`")),
                other => Err(format!("is {}, but must be a whole number", kind_of(other))),
            },
        };
        let checked = number.and_then(|number| {
            let value = u64::try_from(number).ok().and_then(|number| T::try_from(number).ok());
            value
                .filter(|value| range.contains(value))
                .ok_or_else(|| format!("is {number}, but must be between {} and {}", range.start(), range.end()))
        });
        checked.map_err(|problem| self.wrong(place, key, &problem, None)).ok()
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let (raw, place) = self.raw(key)?;
        let flag = match raw {
            Raw::Environment(text) => text.trim().parse().map_err(|_| format!("is `{text}`")),
            Raw::File(value) => value.get_ref().as_bool().ok_or_else(|| format!("is {}", kind_of(value.get_ref()))),
        };
        flag.map_err(|found| self.wrong(place, key, &format!("{found}, but must be true or false"), None)).ok()
    }

    /// Text, checked by `parse`, which returns the problem and a hint. Empty text in the environment counts as absent.
    pub(super) fn text<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Checked<T>) -> Option<T> {
        let (raw, place) = self.raw(key)?;
        let parsed = match raw {
            Raw::Environment(text) if text.trim().is_empty() => return None,
            Raw::Environment(text) => parse(text.trim()),
            Raw::File(value) => text_of(value.get_ref()).and_then(parse),
        };
        match parsed {
            Ok(value) => Some(value),
            Err((problem, hint)) => {
                self.wrong(place, key, &problem, hint);
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)], default: T) -> T {
        let parse = |text: &str| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let possible: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                let hint = suggest(text, words.iter().map(|(word, _)| *word));
                (format!("is \"{text}\", but must be {}", possible.join(" or ")), hint)
            })
        };
        self.text(key, parse).unwrap_or(default)
    }

    /// A path; relative ones start at the working directory.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.text(key, |text| match text {
            "" => Err(("is empty, but must be a path".to_owned(), None)),
            path => Ok(PathBuf::from(path)),
        })
    }

    /// A list, in the environment separated by commas. Each wrong item is reported at its own place.
    pub(super) fn list<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Checked<T>) -> Option<Vec<T>> {
        let file = self.reader.file;
        let (raw, place) = self.raw(key)?;
        let items: Vec<(Place, Checked<T>)> = match raw {
            Raw::Environment(text) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| (place.clone(), parse(item)))
                .collect(),
            Raw::File(value) => match (value.get_ref().as_array(), file) {
                (Some(array), Some(file)) => array
                    .iter()
                    .map(|item| {
                        let place = place_in(file.path, file.text, &item.span());
                        (place, text_of(item.get_ref()).and_then(&parse))
                    })
                    .collect(),
                _ => vec![(
                    place,
                    Err((format!("is {}, but must be a list of strings", kind_of(value.get_ref())), None)),
                )],
            },
        };
        let mut found = Vec::with_capacity(items.len());
        for (place, item) in items {
            match item {
                Ok(item) => found.push(item),
                Err((problem, hint)) => self.wrong(place, key, &problem, hint),
            }
        }
        Some(found)
    }

    /// A table of strings, in the environment as `key=value,key=value`.
    pub(super) fn map<K: Ord, V>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str, &str) -> Checked<(K, V)>,
    ) -> BTreeMap<K, V> {
        self.entries(key, false, parse).into_iter().collect()
    }

    /// A table of lists of strings, in the environment as `key=value,key=value` with the key once for each value.
    pub(super) fn lists<K: Ord, V: Ord>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str, &str) -> Checked<(K, V)>,
    ) -> BTreeMap<K, BTreeSet<V>> {
        let mut found: BTreeMap<K, BTreeSet<V>> = BTreeMap::new();
        for (name, value) in self.entries(key, true, parse) {
            found.entry(name).or_default().insert(value);
        }
        found
    }

    fn entries<K, V>(
        &mut self,
        key: &'static str,
        lists: bool,
        parse: impl Fn(&str, &str) -> Checked<(K, V)>,
    ) -> Vec<(K, V)> {
        let file = self.reader.file;
        let Some((raw, place)) = self.raw(key) else { return Vec::new() };
        let entries: Vec<(Place, Checked<(K, V)>)> = match raw {
            Raw::Environment(text) => text
                .split(',')
                .filter(|entry| !entry.trim().is_empty())
                .map(|entry| match entry.split_once('=') {
                    Some((name, value)) => (place.clone(), parse(name.trim(), value.trim())),
                    None => (place.clone(), Err((format!("has `{}`, but must be `key=value`", entry.trim()), None))),
                })
                .collect(),
            Raw::File(value) => match (value.get_ref().as_table(), file) {
                (Some(table), Some(file)) => table
                    .iter()
                    .flat_map(|(name, value)| texts_of(name, value, lists))
                    .map(|(name, span, text)| {
                        (place_in(file.path, file.text, &span), text.and_then(|text| parse(name, text)))
                    })
                    .collect(),
                _ => {
                    let wanted = if lists { "a table of lists of strings" } else { "a table of strings" };
                    vec![(place, Err((format!("is {}, but must be {wanted}", kind_of(value.get_ref())), None)))]
                }
            },
        };
        let mut found = Vec::with_capacity(entries.len());
        for (place, entry) in entries {
            match entry {
                Ok(entry) => found.push(entry),
                Err((problem, hint)) => self.wrong(place, key, &problem, hint),
            }
        }
        found
    }
}
