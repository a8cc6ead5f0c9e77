//! The promises themselves.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// All promises, in the order of the file.
#[derive(Debug)]
pub struct Requirements {
    /// In the order of the file.
    pub groups: Vec<Group>,
}

/// Promises whose ids begin alike.
#[derive(Debug)]
pub struct Group {
    /// The letters of its ids.
    pub prefix: String,
    /// For headings.
    pub title: String,
    /// Id and promise, by the id's number.
    pub rows: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    group: Vec<FileGroup>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileGroup {
    prefix: String,
    title: String,
    rows: BTreeMap<String, String>,
}

impl Requirements {
    /// Reads the file's text. Errors: no valid TOML, an unknown key, a prefix twice, an id that is not its group's
    /// prefix and a number without leading zeros, or a promise that is no sentence.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let file: File = toml::from_str(text)?;
        let mut groups: Vec<Group> = Vec::new();
        for FileGroup { prefix, title, rows } in file.group {
            ensure!(groups.iter().all(|group| group.prefix != prefix), "group {prefix} stands there twice");
            let mut numbered = Vec::new();
            for (id, promise) in rows {
                let number =
                    number_of(&prefix, &id).with_context(|| format!("{id} is not the prefix {prefix} and a number"))?;
                ensure!(promise.trim_end().ends_with('.'), "{id}: a promise is a sentence that ends in a full stop");
                numbered.push((number, (id, promise)));
            }
            numbered.sort();
            groups.push(Group { prefix, title, rows: numbered.into_iter().map(|(_, row)| row).collect() });
        }
        Ok(Self { groups })
    }

    /// All ids, group by group, by number.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(|group| group.rows.iter().map(|(id, _)| id.as_str()))
    }

    /// Whether a promise has this id.
    pub fn contains(&self, id: &str) -> bool {
        self.ids().any(|known| known == id)
    }
}

fn number_of(prefix: &str, id: &str) -> Option<u32> {
    let digits = id.strip_prefix(prefix)?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_own_file_is_complete() {
        let requirements = Requirements::parse(include_str!("../../../docs/requirements.toml")).unwrap();
        let counts: Vec<(&str, usize)> =
            requirements.groups.iter().map(|group| (group.prefix.as_str(), group.rows.len())).collect();
        let expected = [("G", 24), ("L", 6), ("B", 6), ("T", 10), ("D", 3), ("W", 30), ("TH", 30), ("I", 16)];
        assert_eq!(counts, expected);
    }

    #[test]
    fn rows_stand_in_the_order_of_their_numbers() {
        let text = "[[group]]\nprefix = 'G'\ntitle = 't'\nrows = { G10 = 'b.', G9 = 'a.' }";
        assert_eq!(Requirements::parse(text).unwrap().ids().collect::<Vec<_>>(), ["G9", "G10"]);
    }

    #[test]
    fn malformed_files_are_refused() {
        let group = |rows: &str| format!("[[group]]\nprefix = 'G'\ntitle = 't'\nrows = {{ {rows} }}\n");
        for (text, expected) in [
            (group("H1 = 'a.'"), "H1 is not the prefix G and a number"),
            (group("G01 = 'a.'"), "G01 is not the prefix G and a number"),
            (group("G1 = 'a'"), "G1: a promise is a sentence"),
            (group("G1 = 'a.'").repeat(2), "group G stands there twice"),
            (group("G1 = 'a.'") + "color = 1", "unknown field `color`"),
        ] {
            let error = format!("{:#}", Requirements::parse(&text).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
