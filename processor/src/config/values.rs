//! What values of a TOML file are.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeString, DeValue},
};

use super::check::Checked;

/// The texts of one entry of a table, each with the entry's name and where a mistake in it is.
pub(super) fn texts_of<'v>(
    name: &'v Spanned<DeString<'_>>,
    value: &'v Spanned<DeValue<'_>>,
    lists: bool,
) -> Vec<(&'v str, Range<usize>, Checked<&'v str>)> {
    let one = |span, text| vec![(name.get_ref().as_ref(), span, text)];
    match value.get_ref().as_array() {
        _ if !lists => one(name.span(), text_of(value.get_ref())),
        None => {
            let problem = format!("has {}, but each value must be a list of strings", kind_of(value.get_ref()));
            one(value.span(), Err((problem, Some("write it in brackets: `[\"one\", \"two\"]`".to_owned()))))
        }
        Some(array) if array.is_empty() => {
            one(value.span(), Err((format!("has no value for \"{}\"", name.get_ref()), None)))
        }
        Some(array) => {
            array.iter().map(|item| (name.get_ref().as_ref(), item.span(), text_of(item.get_ref()))).collect()
        }
    }
}

/// What a value is, with its article.
pub(super) fn kind_of(value: &DeValue<'_>) -> String {
    let kind = value.type_str();
    format!("{} {kind}", if kind.starts_with(['a', 'i']) { "an" } else { "a" })
}

/// A value that is text.
pub(super) fn text_of<'v>(value: &'v DeValue<'_>) -> Checked<&'v str> {
    value.as_str().ok_or_else(|| {
        let hint = value.is_integer().then(|| "write it in quotes".to_owned());
        (format!("is {}, but must be a string", kind_of(value)), hint)
    })
}
