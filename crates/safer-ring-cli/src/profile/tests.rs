use proptest::prelude::*;
use serde_json::{Value, json};

use super::{CALLS, ProfileError, run};

/// The profile that comes out for a text.
fn made(text: &str) -> Result<String, ProfileError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    run(file.path())
}

fn made_from(profile: &Value) -> Value {
    serde_json::from_str(&made(&format!("{profile:#}\n")).unwrap()).unwrap()
}

fn refusal(profile: &Value) -> String {
    made(&profile.to_string()).unwrap_err().to_string()
}

fn rule(names: &[&str], action: &str) -> Value {
    json!({ "names": names, "action": action })
}

fn profile(rules: &[Value]) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": rules })
}

/// A text with tabs, unknown keys, keys in no order of the alphabet, and no condition that says anything.
const DOCKER: &str = "{
\t\"defaultAction\": \"SCMP_ACT_ERRNO\",
\t\"defaultErrnoRet\": 1,
\t\"archMap\": [
\t\t{
\t\t\t\"subArchitectures\": [],
\t\t\t\"architecture\": \"SCMP_ARCH_X86_64\"
\t\t}
\t],
\t\"syscalls\": [
\t\t{
\t\t\t\"names\": [
\t\t\t\t\"read\",
\t\t\t\t\"io_submit\"
\t\t\t],
\t\t\t\"action\": \"SCMP_ACT_ALLOW\",
\t\t\t\"args\": null,
\t\t\t\"comment\": \"\",
\t\t\t\"zz\": 18446744073709551615
\t\t}
\t],
\t\"aa\": {
\t\t\"kept\": true
\t}
}
";

#[test]
fn the_three_calls_are_one_rule_more_and_no_other_byte_changes() {
    let expected = DOCKER.replace(
        "551615\n\t\t}\n",
        "551615\n\t\t},\n\t\t{\n\t\t\t\"names\": [\n\t\t\t\t\"io_uring_setup\",\n\t\t\t\t\"io_uring_enter\",\n\
         \t\t\t\t\"io_uring_register\"\n\t\t\t],\n\t\t\t\"action\": \"SCMP_ACT_ALLOW\"\n\t\t}\n",
    );
    assert_eq!(made(DOCKER).unwrap(), expected);
}

#[test]
fn a_profile_that_allows_them_comes_back_byte_by_byte() {
    let once = made(DOCKER).unwrap();
    assert_eq!(made(&once).unwrap(), once);
    // A way of writing that this program would not choose.
    let odd = format!(
        "\n {{ \"syscalls\":[{}],\"defaultAction\":\"SCMP_ACT_KILL\" }}",
        rule(&CALLS, "SCMP_ACT_ALLOW")
    );
    assert_eq!(made(&odd).unwrap(), odd);
    for open in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"] {
        let text = json!({ "defaultAction": open }).to_string();
        assert_eq!(made(&text).unwrap(), text, "whatever is not forbidden is allowed");
    }
}

#[test]
fn only_what_is_missing_is_added() {
    let half = profile(&[rule(&["read", "io_uring_enter"], "SCMP_ACT_ALLOW")]);
    let added = &made_from(&half)["syscalls"][1]["names"];
    assert_eq!(*added, json!(["io_uring_setup", "io_uring_register"]));
}

#[test]
fn a_rule_that_blocks_them_loses_their_names_and_no_others() {
    for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let mut blocking = rule(&["bpf", "io_uring_setup", "io_uring_enter", "kcmp"], action);
        blocking["errnoRet"] = json!(38);
        blocking["excludes"] = json!({ "caps": ["CAP_SYS_ADMIN"] });
        let out = made_from(&profile(&[blocking.clone(), rule(&["read"], "SCMP_ACT_ALLOW")]));
        blocking["names"] = json!(["bpf", "kcmp"]);
        let all = rule(&CALLS, "SCMP_ACT_ALLOW");
        assert_eq!(out, profile(&[blocking, rule(&["read"], "SCMP_ACT_ALLOW"), all]));
    }
}

#[test]
fn a_rule_that_blocks_goes_also_where_another_allows() {
    let allow = rule(&CALLS, "SCMP_ACT_ALLOW");
    let block = rule(&["io_uring_setup"], "SCMP_ACT_ERRNO");
    let out = made_from(&profile(&[block, allow.clone()]));
    assert_eq!(out, profile(&[allow]), "a rule without names would not be a rule");
}

#[test]
fn with_an_open_default_it_is_enough_not_to_block() {
    let denying = |rules: &[Value]| json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules });
    let out = made_from(&denying(&[rule(&["io_uring_setup", "bpf"], "SCMP_ACT_ERRNO")]));
    assert_eq!(out, denying(&[rule(&["bpf"], "SCMP_ACT_ERRNO")]));
}

#[test]
fn permission_under_a_condition_is_not_enough() {
    for (key, condition) in [
        ("includes", json!({ "caps": ["CAP_SYS_ADMIN"] })),
        ("excludes", json!({ "arches": ["s390x"] })),
        ("includes", json!({ "minKernel": "5.1" })),
        ("args", json!([{ "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }])),
    ] {
        let mut allow = rule(&CALLS, "SCMP_ACT_ALLOW");
        allow[key] = condition;
        let out = made_from(&profile(&[allow.clone()]));
        assert_eq!(out, profile(&[allow, rule(&CALLS, "SCMP_ACT_ALLOW")]));
    }
    for (key, nothing) in [("includes", json!({ "caps": [] })), ("args", json!([]))] {
        let mut allow = rule(&CALLS, "SCMP_ACT_ALLOW");
        allow[key] = nothing;
        let whole = profile(&[allow]);
        assert_eq!(made_from(&whole), whole);
    }
}

#[test]
fn the_old_form_with_one_name_is_understood() {
    let one = |name: &str, action: &str| json!({ "name": name, "action": action, "args": [] });
    let allowed: Vec<Value> = CALLS.iter().map(|name| one(name, "SCMP_ACT_ALLOW")).collect();
    assert_eq!(made_from(&profile(&allowed)), profile(&allowed));
    let out = made_from(&profile(&[one("io_uring_setup", "SCMP_ACT_ERRNO")]));
    assert_eq!(out, profile(&[rule(&CALLS, "SCMP_ACT_ALLOW")]));
}

#[test]
fn a_call_that_a_supervisor_decides_is_not_taken_from_it() {
    let asked = profile(&[rule(&["read"], "SCMP_ACT_ALLOW"), rule(&CALLS, "SCMP_ACT_NOTIFY")]);
    let said = refusal(&asked);
    assert!(said.starts_with("syscalls[1] leaves io_uring_setup to SCMP_ACT_NOTIFY"), "{said}");
}

#[test]
fn what_is_not_a_profile_is_named() {
    let list = json!([1]);
    let whole = json!({ "linux": { "seccomp": profile(&[]) } });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod" });
    let wrong = |key: &str, value: Value| {
        let mut rule = rule(&["read"], "SCMP_ACT_ALLOW");
        rule[key] = value;
        profile(&[rule])
    };
    let nameless = profile(&[json!({ "action": "SCMP_ACT_ALLOW" })]);
    let mut no_list = profile(&[]);
    no_list["syscalls"] = json!({});
    for (value, part) in [
        (list, "no JSON object"),
        (whole, "jq .linux.seccomp"),
        (pod, "Kubernetes object"),
        (json!({ "syscalls": [] }), "\"defaultAction\""),
        (json!({ "defaultAction": 1 }), "defaultAction is not a string"),
        (json!({ "defaultAction": "ALLOW" }), "no action of seccomp"),
        (no_list, "\"syscalls\" is not a list"),
        (profile(&[json!("read")]), "syscalls[0] is not an object"),
        (nameless, "syscalls[0].names is missing"),
        (wrong("names", json!("read")), "syscalls[0].names is not a list"),
        (wrong("names", json!([7])), "syscalls[0].names[..] is not a string"),
        (wrong("action", json!("SCMP_ACT_MAYBE")), "syscalls[0].action is \"SCMP_ACT_MAYBE\""),
    ] {
        let said = refusal(&value);
        assert!(said.starts_with("not a seccomp profile: ") && said.contains(part), "{said}");
    }
    let said = made("{ \"defaultAction\": ").unwrap_err().to_string();
    assert!(said.contains("is not JSON: EOF"), "{said}");
    let gone = run(std::path::Path::new("/no/such/file")).unwrap_err().to_string();
    assert!(gone.starts_with("cannot read /no/such/file: "), "{gone}");
}

/// A profile without the three names, and without rules that name nothing.
fn without_the_three(profile: &Value) -> Value {
    let mut profile = profile.clone();
    let rules = profile["syscalls"].as_array_mut().unwrap();
    rules.retain_mut(|rule| {
        if let Some(name) = rule.get("name").and_then(Value::as_str) {
            return !CALLS.contains(&name);
        }
        let names = rule["names"].as_array_mut().unwrap();
        names.retain(|name| !CALLS.contains(&name.as_str().unwrap()));
        !names.is_empty()
    });
    profile
}

/// What a call gets from a container with every condition met, and with none: the first rule that fits, else the default.
fn outcome(profile: &Value, call: &str, conditions: bool) -> String {
    let holds = |rule: &&Value| {
        let names = rule["names"].as_array().is_some_and(|names| names.contains(&json!(call)));
        let free = rule.get("includes").is_none();
        (names || rule["name"] == json!(call)) && (conditions || free)
    };
    let rule = profile["syscalls"].as_array().unwrap().iter().find(holds);
    rule.map_or(&profile["defaultAction"], |rule| &rule["action"]).as_str().unwrap().to_owned()
}

fn any_action() -> impl Strategy<Value = &'static str> {
    let actions =
        ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_TRAP", "SCMP_ACT_LOG"];
    prop::sample::select(actions.to_vec())
}

fn any_rule() -> impl Strategy<Value = Value> {
    let call =
        prop::sample::select(vec!["read", "write", "bpf", "clone3", CALLS[0], CALLS[1], CALLS[2]]);
    let names = prop::collection::vec(call, 1..5);
    (names, any_action(), any::<bool>(), any::<bool>()).prop_map(
        |(names, action, old, condition)| {
            let mut rule = match names.as_slice() {
                [one] if old => json!({ "name": one, "action": action }),
                _ => rule(&names, action),
            };
            if condition {
                rule["includes"] = json!({ "caps": ["CAP_SYS_ADMIN"] });
            }
            rule
        },
    )
}

proptest! {
    #[test]
    fn output_without_the_three_names_is_the_input_without_them(
        rules in prop::collection::vec(any_rule(), 0..6),
        default in any_action(),
    ) {
        let mut before = profile(&rules);
        before["defaultAction"] = json!(default);
        let after = made_from(&before);
        prop_assert_eq!(without_the_three(&after), without_the_three(&before));
        for call in CALLS {
            for conditions in [false, true] {
                let got = outcome(&after, call, conditions);
                prop_assert!(got == "SCMP_ACT_ALLOW" || got == "SCMP_ACT_LOG", "{call}: {got}");
            }
        }
        let again = made_from(&after);
        prop_assert_eq!(&again, &after);
    }
}
