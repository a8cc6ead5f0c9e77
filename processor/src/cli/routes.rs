//! Opens the routes of the configuration, on either backend.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context;
use sessionwarden_machine::ids::AccountId;

use super::Failure;
use crate::{
    config::Config,
    metrics::Metrics,
    outbound::{
        Common, DeadLetters, Deliver, DeskLimits, Destination, JsonLines, Line, Nobody, Notifier, REQUEST_MAX, Route,
        Secret, Tell, Webhook,
    },
};

/// Opens what a backend alone can.
pub(super) type Special<'a> = &'a dyn Fn(&Destination) -> anyhow::Result<Box<dyn Deliver>>;

/// Opens every route. What cannot be opened is told with the route's name.
pub(super) fn open(
    config: &Config,
    units: &BTreeMap<AccountId, Arc<str>>,
    metrics: &Metrics,
    special: Special<'_>,
) -> Result<Vec<Line>, Failure> {
    if config.routes.is_empty() {
        return Ok(Vec::new());
    }
    let letters = DeadLetters::open(&config.service.data_dir).map_err(Failure::failed)?;
    let common = Common { units: Arc::new(units.clone()), letters, metrics: metrics.clone() };
    let line = |route: &Route| -> Result<Line, Failure> {
        let to = destination(&route.to, special).with_context(|| format!("route `{}`", route.name));
        Ok(Line::new(route.clone(), to.map_err(Failure::usage)?, common.clone()))
    };
    config.routes.iter().map(line).collect()
}

fn destination(to: &Destination, special: Special<'_>) -> anyhow::Result<Box<dyn Deliver>> {
    Ok(match to {
        Destination::Webhook { url, secret } => Box::new(Webhook::new(url, Secret::read(secret)?, REQUEST_MAX)?),
        Destination::File { path } => Box::new(JsonLines::open(path)?),
        Destination::Sns { .. } | Destination::EventBridge { .. } => special(to)?,
    })
}

/// Whom one machine tells: its routes, if there are any.
pub(super) fn people_here(
    config: &Config,
    units: &BTreeMap<AccountId, Arc<str>>,
    metrics: &Metrics,
) -> Result<Option<Arc<dyn Tell>>, Failure> {
    let none = |_: &Destination| -> anyhow::Result<Box<dyn Deliver>> {
        anyhow::bail!("it leads to a service of AWS, which needs the backend \"aws\"")
    };
    let lines = open(config, units, metrics, &none)?;
    if lines.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(Notifier::new(Nobody, DeskLimits::default()).with_lines(lines))))
}
