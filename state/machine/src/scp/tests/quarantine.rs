use super::{
    super::{PROBE_DOCUMENT, ScpName, ScpSettings},
    ADMIN, BREAK_GLASS, Bound, DEPLOYER, INSTANCE, OTHER, OWN, RESPONDER, ROOT, names, settings,
};
use crate::permission::Context;

const DOCUMENT: &str = "arn:aws:ssm:eu-west-1:111122223333:document/SSM-SessionManagerRunShell";
const ROLE: &str = "arn:aws:iam::111122223333:role/Node";
const POLICY: &str = "arn:aws:iam::111122223333:policy/Node";
const PROFILE: &str = "arn:aws:iam::111122223333:instance-profile/Node";
const SESSION: &str = "arn:aws:ssm:eu-west-1:111122223333:session/ann-0abc";
const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/logs";
const STREAM: &str = "arn:aws:logs:eu-west-1:111122223333:log-group:/sessions:log-stream:ann-0abc";
const OBJECT: &str = "arn:aws:s3:::logs/sessions/111122223333/ann-0abc.log";

/// Everything that quarantine denies, each with a resource that it is authorised for.
const DENIED: [(&str, &str); 39] = [
    ("ssm:StartSession", INSTANCE),
    ("ssm:StartSession", "arn:aws:ssm:eu-west-1:111122223333:managed-instance/mi-0abc"),
    ("ssm:StartSession", DOCUMENT),
    ("ssm:ResumeSession", SESSION),
    ("ssm:SendCommand", INSTANCE),
    ("ssm:SendCommand", "arn:aws:ssm:eu-west-1::document/AWS-RunShellScript"),
    ("ssm:StartAutomationExecution", "arn:aws:ssm:eu-west-1:111122223333:automation-definition/Run:1"),
    ("ssm:CreateAssociation", DOCUMENT),
    ("ssm:CreateAssociationBatch", DOCUMENT),
    ("ssm:UpdateAssociation", "arn:aws:ssm:eu-west-1:111122223333:association/0abc"),
    ("ssm:StartAccessRequest", INSTANCE),
    ("ssm:GetAccessToken", "arn:aws:ssm:eu-west-1:111122223333:opsitem/oi-0abc"),
    ("ssm:CreateActivation", "*"),
    ("ssm:UpdateServiceSetting", "arn:aws:ssm:eu-west-1:111122223333:servicesetting/ssm/managed-instance/x"),
    ("ssm:CreateDocument", DOCUMENT),
    ("ssm:UpdateDocument", DOCUMENT),
    ("ssm:UpdateDocumentDefaultVersion", DOCUMENT),
    ("ssm:DeleteDocument", DOCUMENT),
    ("ssm:ModifyDocumentPermission", DOCUMENT),
    ("ssm-guiconnect:StartConnection", "*"),
    ("ecs:ExecuteCommand", "arn:aws:ecs:eu-west-1:111122223333:task/main/0abc"),
    ("ec2-instance-connect:SendSSHPublicKey", INSTANCE),
    ("ec2-instance-connect:SendSerialConsoleSSHPublicKey", INSTANCE),
    ("ec2-instance-connect:OpenTunnel", "arn:aws:ec2:eu-west-1:111122223333:instance-connect-endpoint/eice-0abc"),
    ("ec2:EnableSerialConsoleAccess", "*"),
    ("iam:AttachRolePolicy", ROLE),
    ("iam:DetachRolePolicy", ROLE),
    ("iam:PutRolePolicy", ROLE),
    ("iam:DeleteRolePolicy", ROLE),
    ("iam:PutRolePermissionsBoundary", ROLE),
    ("iam:DeleteRolePermissionsBoundary", ROLE),
    ("iam:DeleteRole", ROLE),
    ("iam:CreatePolicyVersion", POLICY),
    ("iam:SetDefaultPolicyVersion", POLICY),
    ("iam:DeletePolicyVersion", POLICY),
    ("iam:AddRoleToInstanceProfile", PROFILE),
    ("iam:RemoveRoleFromInstanceProfile", PROFILE),
    ("organizations:LeaveOrganization", "*"),
    ("SSM:startSESSION", INSTANCE),
];

/// What stays possible whatever happens: ending sessions, looking, and carrying a session's log.
const NEVER_DENIED: [(&str, &str); 27] = [
    ("ssm:TerminateSession", SESSION),
    ("ssm:DescribeSessions", "*"),
    ("ssm:DescribeInstanceInformation", "*"),
    ("ssm:DescribeDocument", DOCUMENT),
    ("ssm:GetDocument", DOCUMENT),
    ("ssm:GetConnectionStatus", INSTANCE),
    ("ssm:GetServiceSetting", "arn:aws:ssm:eu-west-1:111122223333:servicesetting/ssm/managed-instance/x"),
    ("ssm:ListAssociations", "*"),
    ("ssm:UpdateInstanceInformation", INSTANCE),
    ("ssm:UpdateAssociationStatus", INSTANCE),
    ("ssm:UpdateInstanceAssociationStatus", INSTANCE),
    ("ec2:DescribeInstances", "*"),
    ("ec2:GetSerialConsoleAccessStatus", "*"),
    ("ec2messages:GetMessages", "*"),
    ("ecs:DescribeTasks", "arn:aws:ecs:eu-west-1:111122223333:task/main/0abc"),
    ("iam:GetRolePolicy", ROLE),
    ("iam:ListAttachedRolePolicies", ROLE),
    ("organizations:DescribeOrganization", "*"),
    ("s3:PutObject", OBJECT),
    ("s3:GetEncryptionConfiguration", "arn:aws:s3:::logs"),
    ("s3:AbortMultipartUpload", OBJECT),
    ("kms:GenerateDataKey", KEY),
    ("kms:Decrypt", KEY),
    ("logs:CreateLogGroup", "arn:aws:logs:eu-west-1:111122223333:log-group:/sessions"),
    ("logs:CreateLogStream", STREAM),
    ("logs:PutLogEvents", STREAM),
    ("logs:DescribeLogStreams", "arn:aws:logs:eu-west-1:111122223333:log-group:/sessions"),
];

const CHANNELS: [&str; 4] = ["CreateControlChannel", "CreateDataChannel", "OpenControlChannel", "OpenDataChannel"];
const PROBE: &str = "arn:aws:ssm:eu-west-1:111122223333:document/sessionwarden-probe";

/// Each tier with the callers that it must hold for.
fn tiers() -> [(Bound, &'static [&'static str]); 3] {
    let settings = settings();
    [
        (Bound::by(ScpName::QuarantinePrincipal, &settings, &[ADMIN]), &[ADMIN]),
        (Bound::by(ScpName::QuarantineAccess, &settings, &[]), &[ADMIN, OTHER, DEPLOYER, ROOT]),
        (Bound::by(ScpName::QuarantineChannel, &settings, &[]), &[ADMIN, OTHER, DEPLOYER, ROOT]),
    ]
}

fn session_type() -> Context {
    Context::new().with("ssm:DocumentType", ["Session"])
}

// R-G13
#[test]
fn every_way_into_a_session_is_denied() {
    for (bound, callers) in tiers() {
        for (caller, (action, resource)) in callers.iter().flat_map(|caller| DENIED.map(|row| (caller, row))) {
            assert!(bound.denies_with(caller, action, resource, &session_type()), "{caller} {action} {resource}");
        }
    }
}

// R-G13
#[test]
fn ending_sessions_looking_and_carrying_logs_is_never_denied() {
    for (bound, callers) in tiers() {
        for (caller, (action, resource)) in callers.iter().flat_map(|caller| NEVER_DENIED.map(|row| (caller, row))) {
            assert!(!bound.denies_with(caller, action, resource, &session_type()), "{caller} {action} {resource}");
        }
    }
}

// R-G13: in tier 3 alone.
#[test]
fn only_the_third_tier_cuts_the_channels() {
    let node = "arn:aws:sts::111122223333:assumed-role/Node/i-0abc";
    let [(principal, _), (access, _), (channel, _)] = tiers();
    for action in CHANNELS.map(|name| format!("ssmmessages:{name}")) {
        assert!(!principal.denies(ADMIN, &action, "*") && !access.denies(node, &action, "*"), "{action}");
        assert!(channel.denies(node, &action, "*") && !channel.denies(RESPONDER, &action, "*"), "{action}");
    }
}

// R-G13
#[test]
fn the_first_tier_holds_for_the_given_principals_only() {
    let user = "arn:aws:iam::111122223333:user/ops/Ann";
    let bound = Bound::by(ScpName::QuarantinePrincipal, &settings(), &[ADMIN, user]);
    assert!(bound.denies(user, "ssm:StartSession", INSTANCE));
    let same_name_elsewhere = "arn:aws:sts::444455556666:assumed-role/Admin/ann";
    for caller in [OTHER, DEPLOYER, ROOT, same_name_elsewhere, "arn:aws:iam::111122223333:user/Ann"] {
        for (action, resource) in DENIED {
            assert!(!bound.denies_with(caller, action, resource, &session_type()), "{caller} {action}");
        }
    }
    // Another session of the same role is bound: it is the role that is locked.
    assert!(bound.denies("arn:aws:sts::111122223333:assumed-role/Admin/zoe", "ssm:StartSession", INSTANCE));
}

// R-G13
#[test]
fn exempt_roles_are_spared_except_by_the_canary() {
    for (bound, callers) in tiers() {
        for caller in [BREAK_GLASS, RESPONDER, OWN] {
            for (action, resource) in DENIED {
                assert!(!bound.denies_with(caller, action, resource, &session_type()), "{caller} {action}");
            }
        }
        for caller in [BREAK_GLASS, RESPONDER, OWN, OTHER].iter().chain(callers) {
            assert!(bound.denies(caller, "ssm:GetDocument", PROBE), "{caller}");
        }
        assert!(PROBE.ends_with(&format!("document/{PROBE_DOCUMENT}")));
        assert!(!bound.denies(OWN, "ssm:GetDocument", &format!("{PROBE}-2")));
    }
    // An exempt principal stays exempt where it is given.
    let given = Bound::by(ScpName::QuarantinePrincipal, &settings(), &[BREAK_GLASS]);
    assert!(!given.denies(BREAK_GLASS, "ssm:StartSession", INSTANCE));
}

// R-G13
#[test]
fn a_path_or_an_affix_makes_no_exempt_role() {
    let bound = Bound::by(ScpName::QuarantineAccess, &settings(), &[]);
    for arn in [
        "role/evil/sessionwarden",
        "role/sessionwarden/evil",
        "role/sessionwarden-evil",
        "role/xsessionwarden",
        "role/Sessionwarden",
        "role/BreakGlass/x",
        "user/sessionwarden",
        "user/BreakGlass",
    ] {
        let caller = format!("arn:aws:iam::111122223333:{arn}");
        assert!(bound.denies(&caller, "ssm:StartSession", INSTANCE), "{arn}");
    }
    // A role that is exempt by its path is so with this path alone.
    let with_path = ScpSettings { own_roles: names(&["guard/sessionwarden"]), ..settings() };
    let bound = Bound::by(ScpName::QuarantineAccess, &with_path, &[]);
    assert!(!bound.denies("arn:aws:iam::111122223333:role/guard/sessionwarden", "ssm:StartSession", INSTANCE));
    assert!(bound.denies("arn:aws:iam::111122223333:role/sessionwarden", "ssm:StartSession", INSTANCE));
    assert!(bound.denies(OWN, "ssm:StartSession", INSTANCE));
}

// R-G13
#[test]
fn nobody_else_makes_or_re_trusts_an_exempt_role() {
    for (bound, callers) in tiers() {
        for caller in callers {
            for action in ["iam:CreateRole", "iam:UpdateAssumeRolePolicy"] {
                for role in ["sessionwarden", "BreakGlass", "Responder"] {
                    let role = format!("arn:aws:iam::111122223333:role/{role}");
                    assert!(bound.denies(caller, action, &role), "{caller} {action} {role}");
                    assert!(!bound.denies(OWN, action, &role), "{action} {role}");
                }
                assert!(!bound.denies(caller, action, ROLE), "{caller} {action}");
            }
        }
    }
}

// R-G13
#[test]
fn documents_of_other_types_can_be_written() {
    for (bound, callers) in tiers() {
        let caller = callers[0];
        for action in ["ssm:CreateDocument", "ssm:UpdateDocument", "ssm:DeleteDocument"] {
            let of_type = |kind: &str| Context::new().with("ssm:DocumentType", [kind]);
            assert!(!bound.denies_with(caller, action, DOCUMENT, &of_type("Command")), "{action}");
            assert!(bound.denies_with(caller, action, DOCUMENT, &of_type("Session")), "{action}");
            // Where the request does not tell the type it counts as the worst.
            assert!(
                bound.denies_with(caller, action, DOCUMENT, &Context::new().without("ssm:DocumentType")),
                "{action}"
            );
        }
    }
}

#[test]
fn without_any_exemption_the_policy_holds_for_all() {
    let nobody = ScpSettings { own_roles: names(&[]), ..ScpSettings::default() };
    let bound = Bound::by(ScpName::QuarantineAccess, &nobody, &[]);
    assert!(bound.denies(OWN, "ssm:StartSession", INSTANCE));
    assert!(!bound.denies(ADMIN, "iam:CreateRole", ROLE));
}
