//! Calls as templates: one line of data for each kind of call, filled in from a scene.

use std::fmt::Write;

use sessionwarden_machine::ids::EventTime;

use crate::{
    cloudtrail::{Caller, Record, push_time},
    dice::{BASE32, BASE64, DIGITS, Dice, HEX, push_uuid},
};

/// One kind of call. In its JSON parts these marks are replaced:
///
/// `$A` account · `$R` region · `$N` node · `$P` role behind the node · `$M` the caller's ARN · `$L` the caller's name ·
/// `$T` time · `$U` a new UUID · `$H` 17 hexadecimal digits · `$K` 17 symbols of an access key · `$D` six digits ·
/// `$B` 60 symbols of a token · `$$` a dollar sign.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// The row of the threat catalogue, for example `TH20`; empty for a harmless call.
    pub threat: &'static str,
    /// The event source without `.amazonaws.com`.
    pub source: &'static str,
    /// The event's name.
    pub name: &'static str,
    /// `requestParameters`.
    pub request: &'static str,
    /// `responseElements`.
    pub response: &'static str,
    /// `additionalEventData` and `resources` as JSON members, each followed by a comma; may be empty.
    pub extra: &'static str,
    /// Whether the call only reads.
    pub read_only: bool,
    /// A data event rather than a management event.
    pub data_event: bool,
}

/// Who does what where and when: what a template is filled in from.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Who calls.
    pub caller: &'a Caller,
    /// Where; ignored for calls that AWS records in us-east-1 only.
    pub region: &'a str,
    /// A node's id; may be empty where the call names none.
    pub node: &'a str,
    /// A role's name; may be empty where the call names none.
    pub role: &'a str,
    /// When.
    pub time: EventTime,
}

impl Template {
    /// The region in which AWS records the call: iam and organizations appear in us-east-1 only.
    pub fn region<'a>(&self, region: &'a str) -> &'a str {
        if matches!(self.source, "iam" | "organizations") { "us-east-1" } else { region }
    }

    /// Appends the call's CloudTrail record, filled in from `scene`.
    pub fn write(&self, scene: &Scene<'_>, dice: &mut Dice, out: &mut String) {
        self.fill(scene, None, dice, |record, dice| record.write(dice, out));
    }

    /// Appends the call's EventBridge envelope, filled in from `scene`; with `request` in place of its own
    /// `requestParameters`, where given.
    pub fn write_envelope(&self, scene: &Scene<'_>, request: Option<&str>, dice: &mut Dice, out: &mut String) {
        self.fill(scene, request, dice, |record, dice| record.write_envelope(dice, out));
    }

    fn fill(
        &self,
        scene: &Scene<'_>,
        request: Option<&str>,
        dice: &mut Dice,
        write: impl FnOnce(&Record<'_>, &mut Dice),
    ) {
        let scene = Scene { region: self.region(scene.region), ..*scene };
        let mut part = |template| {
            let mut text = String::with_capacity(1024);
            expand(template, &scene, dice, &mut text);
            text
        };
        let request = request.map_or_else(|| part(self.request), str::to_owned);
        let (response, extra) = (part(self.response), part(self.extra));
        let record = Record {
            caller: scene.caller,
            time: scene.time,
            source: self.source,
            name: self.name,
            region: scene.region,
            request: &request,
            response: &response,
            extra: &extra,
            error: None,
            read_only: self.read_only,
            data_event: self.data_event,
        };
        write(&record, dice);
    }
}

fn expand(template: &str, scene: &Scene<'_>, dice: &mut Dice, out: &mut String) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let mark = after.chars().next().unwrap_or('$');
        match mark {
            'A' => {
                let _ = write!(out, "{}", scene.caller.account);
            }
            'R' => out.push_str(scene.region),
            'N' => out.push_str(scene.node),
            'P' => out.push_str(scene.role),
            'M' => out.push_str(&scene.caller.arn),
            'L' => out.push_str(&scene.caller.name),
            'T' => push_time(out, scene.time),
            'U' => push_uuid(out, dice.uuid()),
            'H' => dice.push(out, HEX, 17),
            'K' => dice.push(out, BASE32, 17),
            'D' => dice.push(out, DIGITS, 6),
            'B' => dice.push(out, BASE64, 60),
            other => out.push(other),
        }
        rest = after.get(mark.len_utf8()..).unwrap_or("");
    }
    out.push_str(rest);
}
