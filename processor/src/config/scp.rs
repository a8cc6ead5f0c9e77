//! `[scp]`: whom the service control policies spare, and what they guard.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sessionwarden_machine::scp::{self, Guarded, ScpSettings};

use super::{
    Config,
    check::{self, Checked},
    reader::Reader,
};

/// `[scp]`: the service control policies. A role is written by its name, with the path before it where it has one; `*`
/// stands for any characters, `/` included, and `?` for one, but neither at the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scp {
    /// The partition in all ARNs. Default: `aws`.
    pub partition: String,
    /// Roles for emergencies, for whom no policy holds. Default: none.
    pub break_glass_roles: Vec<String>,
    /// Roles of those who respond to incidents, for whom no policy holds. Default: none.
    pub responder_roles: Vec<String>,
    /// Sessionwarden's own roles, for whom no policy holds; `role` under `[aws]` counts as one too. Default:
    /// `sessionwarden`.
    pub own_roles: Vec<String>,
    /// Roles that deploy the guardrail: spared where it is protected, never in quarantine. Default:
    /// `sessionwarden-deployer`.
    pub deployer_roles: Vec<String>,
    /// Documents that sessions may use, 3 to 128 characters each. Default: `SSM-SessionManagerRunShell`.
    pub session_documents: Vec<String>,
    /// What the guardrail consists of, `[scp.names]`: names by kind, in place of `own_names` under `[organization]`.
    /// Default: none.
    pub names: BTreeMap<Guarded, BTreeSet<String>>,
}

impl Default for Scp {
    fn default() -> Self {
        let default = ScpSettings::default();
        let texts = |names: &BTreeSet<Arc<str>>| names.iter().map(ToString::to_string).collect();
        Self {
            partition: default.partition.to_string(),
            break_glass_roles: texts(&default.break_glass_roles),
            responder_roles: texts(&default.responder_roles),
            own_roles: texts(&default.own_roles),
            deployer_roles: texts(&default.deployer_roles),
            session_documents: texts(&default.session_documents),
            names: BTreeMap::new(),
        }
    }
}

impl Scp {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let mut section = reader.section("scp");
        let partition = |text: &str| fitting(text, scp::partition_problem);
        let role = |text: &str| fitting(text, scp::role_problem);
        let errors = section.errors();
        let read = Self {
            partition: section.text("partition", partition).unwrap_or(default.partition),
            break_glass_roles: section.list("break_glass_roles", role).unwrap_or(default.break_glass_roles),
            responder_roles: section.list("responder_roles", role).unwrap_or(default.responder_roles),
            own_roles: section.list("own_roles", role).unwrap_or(default.own_roles),
            deployer_roles: section.list("deployer_roles", role).unwrap_or(default.deployer_roles),
            session_documents: section
                .list("session_documents", |text| fitting(text, scp::document_problem))
                .unwrap_or(default.session_documents),
            names: section.lists("names", |kind, name| Ok((check::guarded(kind)?, fitting(name, scp::name_problem)?))),
        };
        // What follows from a wrong name is not told as well.
        if read.session_documents.is_empty() && section.errors() == errors {
            let place = section.place("session_documents");
            let problem = "`scp.session_documents` is empty, which would forbid every session".to_owned();
            section.error(place, problem, Some("name `SSM-SessionManagerRunShell` at least".to_owned()));
        }
        read
    }
}

fn fitting(text: &str, problem: fn(&str) -> Option<&'static str>) -> Checked<String> {
    match problem(text) {
        None => Ok(text.to_owned()),
        Some(problem) => Err((format!("has \"{text}\", which {problem}"), None)),
    }
}

/// What the service control policies are rendered from. The member role belongs to Sessionwarden's own; where `[scp.names]`
/// says nothing of a kind, `own_names` holds, and what `[preferences]` names is guarded beside it.
pub fn scp_settings_of(config: &Config) -> ScpSettings {
    let scp = &config.scp;
    let mut settings = ScpSettings {
        partition: scp.partition.as_str().into(),
        break_glass_roles: texts(&scp.break_glass_roles),
        responder_roles: texts(&scp.responder_roles),
        own_roles: texts(scp.own_roles.iter().chain(Some(&config.aws.role).filter(|role| !role.is_empty()))),
        deployer_roles: texts(&scp.deployer_roles),
        session_documents: texts(&scp.session_documents),
        names: BTreeMap::new(),
    };
    for kind in Guarded::ALL {
        let names = match scp.names.get(&kind) {
            Some(names) => texts(names),
            None if kind == Guarded::Key => BTreeSet::new(),
            None => texts(&config.organization.own_names),
        };
        settings.names.insert(kind, names);
    }
    for (kind, name) in preferred(config) {
        settings.names.entry(kind).or_default().insert(name.into());
    }
    settings.names.retain(|_, names| !names.is_empty());
    settings
}

/// What `[preferences]` names. A key's ARN is cut to its id or alias.
fn preferred(config: &Config) -> impl Iterator<Item = (Guarded, &str)> {
    let wanted = &config.preferences;
    let key = wanted.kms_key.as_deref().map(|key| {
        let name = if key.starts_with("arn:") { key.rsplit_once(':').map_or(key, |(_, name)| name) } else { key };
        match (name.strip_prefix("alias/"), name.strip_prefix("key/")) {
            (Some(alias), _) => (Guarded::Alias, alias),
            (None, Some(id)) => (Guarded::Key, id),
            (None, None) => (Guarded::Key, name),
        }
    });
    let bucket = wanted.s3_bucket.as_deref().map(|bucket| (Guarded::Bucket, bucket));
    let group = wanted.log_group.as_deref().map(|group| (Guarded::LogGroup, group));
    // An empty name wants that there is none.
    [bucket, group, key].into_iter().flatten().filter(|(_, name)| !name.is_empty())
}

fn texts<'a>(values: impl IntoIterator<Item = &'a String>) -> BTreeSet<Arc<str>> {
    values.into_iter().map(|value| Arc::from(value.as_str())).collect()
}
