//! Real CloudTrail events beside the repository, file by file: every record is found, and every call of interest seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use sessionwarden_machine::decode::{Decoded, Decoder, Piece, Splitter, What};

/// Files whose records are not what the manifest counts, with the reason: (name ends in, ignored fragments, parked).
const EXCEPTIONS: [(&str, u64, u64, &str); 1] = [(
    "opensearch-catalog/integrations/observability/aws_cloudtrail/data/samples-large.json",
    1,
    4,
    "is no JSON: two braces too many after its second record, and one record that lacks its end. All 839 others are \
     read; what is left of that record is parked in two pieces, an object inside it stands by itself and is ignored; \
     the stray braces and the list's end, which the broken record hides, are parked too.",
)];

/// Calls that the manifest names but the threat catalogue does not: they change nothing that sessions rest on.
const OUTSIDE: [&str; 14] = [
    "ec2:ModifyInstanceAttribute",
    "ec2:RunInstances",
    "iam:AttachGroupPolicy",
    "iam:AttachUserPolicy",
    "iam:CreatePolicy",
    "iam:CreateRole",
    "iam:CreateServiceLinkedRole",
    "iam:DeleteUserPolicy",
    "iam:DetachUserPolicy",
    "iam:PutGroupPolicy",
    "iam:PutUserPolicy",
    "s3:PutBucketAcl",
    "sso:CreateAccountAssignment",
    "sso:UpdateSsoConfiguration",
];

struct Listed {
    file: String,
    events: u64,
    /// Calls by `service:Name`, with `!` behind those that failed.
    calls: BTreeMap<String, u64>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    records: u64,
    parked: u64,
    calls: BTreeMap<String, u64>,
}

fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/cloudtrail");
    if folder.join("MANIFEST.tsv").is_file() {
        return Some(folder);
    }
    let required = std::env::var_os("SESSIONWARDEN_REQUIRE_DATA").is_some_and(|value| value == "1");
    assert!(!required, "SESSIONWARDEN_REQUIRE_DATA=1, but there is no {}", folder.display());
    eprintln!("NOT TESTED: the real CloudTrail events are absent ({})", folder.display());
    None
}

fn manifest(folder: &Path) -> Vec<Listed> {
    let text = fs::read_to_string(folder.join("MANIFEST.tsv")).unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let column = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let (file, events, calls) = (column("file"), column("events"), column("event_names_of_interest"));
    let listed = lines.map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let call = |call: &str| {
            let (name, count) = call.trim().split_once('=').unwrap();
            (name.to_owned(), count.parse().unwrap())
        };
        Listed {
            file: fields[file].to_owned(),
            events: fields[events].parse().unwrap(),
            calls: fields[calls].split(',').filter(|call| !call.trim().is_empty()).map(call).collect(),
        }
    });
    listed.collect()
}

fn sources() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut names: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (_, source, name) in Decoder::catalogue() {
        names.entry(name).or_default().insert(source.strip_suffix(".amazonaws.com").unwrap());
    }
    names
}

fn read(bytes: &[u8], decoder: &Decoder) -> Found {
    let sources = sources();
    let (mut splitter, mut begin, mut found) = (Splitter::default(), 0, Found::default());
    let mut count = |decoded: Decoded<'_>, text: &[u8], whole: bool| match decoded {
        Decoded::Relevant(seen) => {
            found.records += 1;
            // The observation names no service: where two have the call, the text tells.
            let named = |source: &&&str| memchr_str(text, &format!("\"{source}.amazonaws.com\""));
            let source = sources[seen.name].iter().find(named).unwrap();
            let failed = if seen.failure.is_some() { "!" } else { "" };
            *found.calls.entry(format!("{source}:{}{failed}", seen.name)).or_default() += 1;
            if seen.name == "StartSession" {
                assert_eq!(seen.failure.is_some(), matches!(seen.what, What::Refused { .. }));
            }
        }
        Decoded::Ignored(_) if whole => found.records += 1,
        Decoded::Ignored(_) | Decoded::Poison(_) => found.parked += 1,
    };
    loop {
        let (piece, done) = splitter.next(&bytes[begin..], true);
        match piece {
            Piece::Whole(at) => {
                let value = &bytes[begin + at.start..begin + at.end];
                decoder.decode(value, &mut |decoded| count(decoded, value, true));
            }
            Piece::Broken(at) => {
                let value = &bytes[begin + at.start..begin + at.end];
                decoder.decode_fully(value, &mut |decoded| count(decoded, value, false));
            }
            Piece::End => return found,
            Piece::TooLong(_) | Piece::More => panic!("all bytes are there, and few: {piece:?}"),
        }
        begin += done;
    }
}

fn memchr_str(text: &[u8], needle: &str) -> bool {
    text.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[test]
fn every_file_has_the_records_that_its_manifest_counts() {
    let Some(folder) = corpus() else { return };
    let decoder = Decoder::default();
    let listed = manifest(&folder);
    assert!(listed.len() > 300, "{} files", listed.len());
    for one in &listed {
        let found = read(&fs::read(folder.join(&one.file)).unwrap(), &decoder);
        let (fragments, parked) = match EXCEPTIONS.iter().find(|(file, ..)| *file == one.file) {
            Some((_, fragments, parked, _)) => (*fragments, *parked),
            None => (0, 0),
        };
        assert_eq!((found.records, found.parked), (one.events + fragments, parked), "{}", one.file);
    }
}

#[test]
fn every_call_of_interest_is_seen() {
    let Some(folder) = corpus() else { return };
    let decoder = Decoder::default();
    let known: BTreeSet<String> = Decoder::catalogue()
        .map(|(_, source, name)| format!("{}:{name}", source.strip_suffix(".amazonaws.com").unwrap()))
        .collect();
    let (mut seen, mut outside) = (0, BTreeSet::new());
    for one in manifest(&folder) {
        let found = read(&fs::read(folder.join(&one.file)).unwrap(), &decoder);
        for (call, count) in &one.calls {
            let name = call.trim_end_matches('!');
            if known.contains(name) {
                assert_eq!(found.calls.get(call), Some(count), "{call} in {}", one.file);
                seen += count;
            } else {
                outside.insert(name.to_owned());
            }
        }
    }
    assert!(seen >= 40, "{seen}");
    assert_eq!(outside.iter().map(String::as_str).collect::<Vec<_>>(), OUTSIDE);
}

#[test]
fn the_reasons_are_written_down() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/corpus.md")).unwrap();
    for (file, .., reason) in EXCEPTIONS {
        assert!(page.contains(&format!("| `{file}` | {reason} |")), "{file}");
    }
    for call in OUTSIDE {
        assert!(page.contains(&format!("`{call}`")), "{call}");
    }
}
