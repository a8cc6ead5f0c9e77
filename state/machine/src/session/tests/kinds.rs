//! What a session runs, as its names show.

use super::support::*;
use crate::{
    compliance::{DocumentKind as D, TargetKind as T},
    session::{Described, Input, Life, LogLook, Session, document_kind, target_kind},
};

fn of(input: Input) -> Session {
    let mut one = session();
    one.absorb(input, now(0));
    one
}

fn adopted(id: &str, target: &str, document: &str) -> Session {
    let mut one = Session::new(key(id), now(0));
    let described = Described { target: target.into(), document: document.into(), ..described() };
    one.absorb(round(1, Life::Alive(described), &[], LogLook::Unknown), now(1));
    one
}

/// Names, ARNs of the own account, of AWS (no account) and of another account, and what they are.
const DOCUMENTS: [(&str, D); 20] = [
    ("SSM-SessionManagerRunShell", D::DefaultShell),
    ("arn:aws:ssm:eu-central-1:111122223333:document/SSM-SessionManagerRunShell", D::DefaultShell),
    ("arn:aws-cn:ssm:cn-north-1:111122223333:document/SSM-SessionManagerRunShell", D::DefaultShell),
    ("arn:aws:ssm:eu-central-1:444455556666:document/SSM-SessionManagerRunShell", D::Custom),
    ("AWS-StartSSHSession", D::Ssh),
    ("arn:aws:ssm:eu-central-1::document/AWS-StartSSHSession", D::Ssh),
    ("arn:aws:ssm:*:*:document/AWS-StartSSHSession", D::Custom),
    ("AWS-StartPortForwardingSession", D::Port),
    ("AWS-StartPortForwardingSessionToRemoteHost", D::Port),
    ("AWS-StartPortForwardingSessionToSocket", D::Port),
    ("arn:aws:ssm:us-east-1::document/AWS-StartPortForwardingSession", D::Port),
    ("AWS-StartInteractiveCommand", D::InteractiveCommand),
    ("arn:aws:ssm:us-east-1::document/AWS-StartInteractiveCommand", D::InteractiveCommand),
    ("AWS-StartNonInteractiveCommand", D::NonInteractiveCommand),
    ("ssm-sessionmanagerrunshell", D::Custom),
    ("SSM-SessionManagerRunShell-2", D::Custom),
    ("My-AWS-StartSSHSession", D::Custom),
    ("arn:aws:ssm:eu-central-1:111122223333:document/Mine", D::Custom),
    ("arn:aws:ssm:eu-central-1:444455556666:document/AWS-StartSSHSession", D::Custom),
    ("Mine", D::Custom),
];

// TH1, TH2, TH3, R-W16: the default document is the default document under every name that it has.
#[test]
fn documents_are_known_by_name_and_by_arn() {
    for (name, kind) in DOCUMENTS {
        let one = of(opened(0, 1, NODE, Some(name)));
        assert_eq!((document_kind(&one), one.document()), (kind, name), "started with {name}");
        let one = adopted("ann-0a", NODE, name);
        assert_eq!((document_kind(&one), one.document()), (kind, name), "described with {name}");
    }
    // R-G2: a call that names no document uses the default one, and so does a description without one.
    let default = "SSM-SessionManagerRunShell";
    for one in [of(start(0)), adopted("ann-0a", NODE, "")] {
        assert_eq!((document_kind(&one), one.document()), (D::DefaultShell, default));
    }
    for one in [session(), of(resume(0, 1)), of(terminate(0, 1))] {
        assert_eq!((document_kind(&one), one.document()), (D::Unknown, ""));
    }
}

// R-W15, TH8
#[test]
fn targets_are_known_by_their_form() {
    for (target, kind) in [
        (NODE, T::Ec2),
        ("mi-0123456789abcdef0", T::Hybrid),
        ("ecs:cluster_task_runtime", T::Other),
        ("sagemaker-cluster:c_g-i-0123456789abcdef0", T::Other),
        ("", T::Unknown),
        ("I-0123", T::Other),
    ] {
        assert_eq!(target_kind(&of(opened(0, 1, target, None))), kind, "started on {target}");
        assert_eq!(target_kind(&adopted("ann-0a", target, "")), kind, "described on {target}");
    }
    assert_eq!(target_kind(&of(resume(0, 1))), T::Unknown);
}

// TH7, TH8: a name can be chosen, the call cannot.
#[test]
fn ecs_exec_is_known_by_its_call_or_else_by_its_id() {
    const ID: &str = "ecs-execute-command-0a1b2c3d4e5f60718";
    let exec = (T::Container, D::Unknown);
    let kinds = |one: &Session| (target_kind(one), document_kind(one));
    assert_eq!(kinds(&of(executed(0, 1))), exec);
    let mut one = adopted(ID, "ecs:c_t_n", "AmazonECS-ExecuteInteractiveCommand");
    assert_eq!(kinds(&one), exec);
    one.absorb(executed(0, 1), now(2));
    assert_eq!(kinds(&one), exec);
    // Somebody whose name is `ecs-execute-command` starts a session straight to a container.
    let mut one = adopted(ID, "ecs:c_t_n", "AmazonECS-ExecuteInteractiveCommand");
    one.absorb(opened(0, 2, "ecs:c_t_n", Some("AmazonECS-ExecuteInteractiveCommand")), now(2));
    assert_eq!(kinds(&one), (T::Other, D::Custom));
    // Both calls are recorded: ECS opened it.
    one.absorb(executed(1, 3), now(3));
    assert_eq!(kinds(&one), exec);
}

#[test]
fn what_the_call_left_out_comes_from_the_description() {
    let Input::Event(mut event) = opened(0, 1, "", None) else { unreachable!() };
    event.mark.principal.arn = "".into();
    let mut one = of(Input::Event(event));
    assert_eq!((one.target(), &*one.principal().arn), ("", ""));
    one.absorb(alive(1, &[]), now(1));
    assert_eq!((one.target(), one.principal()), (NODE, principal("ann")));
    one.absorb(opened(-1, 2, "i-0", None), now(1));
    assert_eq!(one.target(), "i-0");
}

#[test]
fn an_owners_kind_is_read_from_the_arn() {
    for (arn, kind) in [
        ("arn:aws:iam::111122223333:user/path/ann", "IAMUser"),
        ("arn:aws:sts::111122223333:assumed-role/Admin/ann", "AssumedRole"),
        ("arn:aws:sts::111122223333:federated-user/ann", "FederatedUser"),
        ("arn:aws:iam::111122223333:root", "Root"),
        ("ann", ""),
    ] {
        let described = Described { owner: arn.into(), ..described() };
        let one = of(round(1, Life::Alive(described), &[], LogLook::Unknown));
        assert_eq!((&*one.principal().arn, &*one.principal().kind), (arn, kind));
    }
}
