use super::{
    super::{ScpName, ScpSettings},
    ADMIN, BREAK_GLASS, Bound, DEPLOYER, INSTANCE, OWN, RESPONDER, ROOT, names, settings,
};
use crate::permission::Context;

const ALLOWED: &str = "arn:aws:ssm:eu-west-1:111122223333:document/SSM-SessionManagerRunShell";
const START: &str = "ssm:StartSession";

fn of_account(account: &str) -> Context {
    Context::new().with("aws:ResourceAccount", [account])
}

// R-D2
#[test]
fn sessions_use_the_allowed_documents_only() {
    let bound = Bound::by(ScpName::Documents, &settings(), &[]);
    for caller in [ADMIN, DEPLOYER, ROOT] {
        for (resource, denied) in [
            (ALLOWED, false),
            // The target is authorised too, and must not be denied.
            (INSTANCE, false),
            ("arn:aws:ssm:eu-west-1:111122223333:managed-instance/mi-0abc", false),
            ("arn:aws:ecs:eu-west-1:111122223333:task/main/0abc", false),
            ("arn:aws:ssm:eu-west-1:111122223333:document/Backdoor", true),
            ("arn:aws:ssm:eu-west-1:111122223333:document/SSM-SessionManagerRunShell2", true),
            ("arn:aws:ssm:eu-west-1::document/AWS-StartPortForwardingSession", true),
            ("arn:aws:ssm:eu-west-1::document/AWS-StartInteractiveCommand", true),
        ] {
            assert_eq!(bound.denies(caller, START, resource), denied, "{caller} {resource}");
        }
        assert!(!bound.denies(caller, "ssm:SendCommand", "arn:aws:ssm:eu-west-1::document/AWS-RunShellScript"));
        assert!(!bound.denies(caller, "ssm:TerminateSession", "arn:aws:ssm:eu-west-1:111122223333:session/ann-0abc"));
    }
    for caller in [BREAK_GLASS, RESPONDER, OWN] {
        assert!(!bound.denies(caller, START, "arn:aws:ssm:eu-west-1:111122223333:document/Other"), "{caller}");
    }
}

// R-D3: SSH needs a document of its own, which somebody has to allow.
#[test]
fn ssh_is_denied_unless_its_document_is_allowed() {
    let ssh = "arn:aws:ssm:eu-west-1::document/AWS-StartSSHSession";
    assert!(Bound::by(ScpName::Documents, &settings(), &[]).denies(ADMIN, START, ssh));

    let with_ssh = names(&["SSM-SessionManagerRunShell", "AWS-StartSSHSession"]);
    let bound = Bound::by(ScpName::Documents, &ScpSettings { session_documents: with_ssh, ..settings() }, &[]);
    assert!(!bound.denies(ADMIN, START, ssh) && !bound.denies(ADMIN, START, ALLOWED));
    // AWS's document belongs to no account: one of its name in an account is not AWS's.
    assert!(bound.denies(ADMIN, START, "arn:aws:ssm:eu-west-1:111122223333:document/AWS-StartSSHSession"));
    assert!(bound.denies(ADMIN, START, "arn:aws:ssm:eu-west-1::document/AWS-StartPortForwardingSession"));
}

// R-D2, TH1
#[test]
fn a_document_of_the_right_name_in_another_account_is_denied() {
    let bound = Bound::by(ScpName::Documents, &settings(), &[]);
    let shared = "arn:aws:ssm:eu-west-1:999999999999:document/SSM-SessionManagerRunShell";
    assert!(bound.denies(ADMIN, START, shared));
    assert!(!bound.denies_with(ADMIN, START, ALLOWED, &of_account("111122223333")));
    assert!(!bound.denies_with(ADMIN, START, ALLOWED, &Context::new().without("aws:ResourceAccount")));
    assert!(!bound.denies_with(BREAK_GLASS, START, shared, &of_account("999999999999")));
}

// R-D2
#[test]
fn session_documents_are_written_by_nobody_but_the_exempt_and_the_deployer() {
    let bound = Bound::by(ScpName::Documents, &settings(), &[]);
    let own = "arn:aws:ssm:eu-west-1:111122223333:document/Own";
    let of_type = |kind: &str| Context::new().with("ssm:DocumentType", [kind]);
    for action in [
        "ssm:CreateDocument",
        "ssm:UpdateDocument",
        "ssm:UpdateDocumentDefaultVersion",
        "ssm:DeleteDocument",
        "ssm:ModifyDocumentPermission",
    ] {
        assert!(bound.denies_with(ADMIN, action, own, &of_type("Session")), "{action}");
        assert!(!bound.denies_with(ADMIN, action, own, &of_type("Command")), "{action}");
        // An allowed document, even where its type is not told.
        assert!(bound.denies_with(ADMIN, action, ALLOWED, &Context::new().without("ssm:DocumentType")), "{action}");
        for caller in [DEPLOYER, OWN, BREAK_GLASS] {
            assert!(!bound.denies_with(caller, action, ALLOWED, &of_type("Session")), "{caller} {action}");
        }
    }
}

// R-D1
#[test]
fn no_session_without_the_check_of_its_document() {
    let bound = Bound::by(ScpName::DocumentCheck, &settings(), &[]);
    let key = "ssm:SessionDocumentAccessCheck";
    for caller in [ADMIN, DEPLOYER, ROOT] {
        for resource in [INSTANCE, ALLOWED] {
            assert!(bound.denies_with(caller, START, resource, &Context::new().with(key, ["false"])));
            assert!(!bound.denies_with(caller, START, resource, &Context::new().with(key, ["true"])));
            // As AWS's own condition has it: BoolIfExists holds without the key.
            assert!(!bound.denies_with(caller, START, resource, &Context::new().without(key)));
        }
        assert!(!bound.denies_with(caller, "ssm:ResumeSession", "*", &Context::new().with(key, ["false"])));
    }
    for caller in [BREAK_GLASS, RESPONDER, OWN] {
        assert!(!bound.denies_with(caller, START, INSTANCE, &Context::new().with(key, ["false"])), "{caller}");
    }
}

// R-D1, R-D2: an exemption that anybody can take is none.
#[test]
fn nobody_else_makes_or_re_trusts_an_exempt_role() {
    for name in [ScpName::Documents, ScpName::DocumentCheck] {
        let bound = Bound::by(name, &settings(), &[]);
        for action in ["iam:CreateRole", "iam:UpdateAssumeRolePolicy"] {
            assert!(bound.denies(ADMIN, action, "arn:aws:iam::111122223333:role/BreakGlass"), "{name} {action}");
            assert!(!bound.denies(ADMIN, action, "arn:aws:iam::111122223333:role/Node"), "{name} {action}");
            assert!(!bound.denies(DEPLOYER, action, "arn:aws:iam::111122223333:role/BreakGlass"), "{name} {action}");
        }
    }
}
