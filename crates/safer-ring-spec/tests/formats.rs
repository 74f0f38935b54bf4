//! What the printers make of a specification.

use safer_ring_spec::{Format, Generation, Specification, parse, print, render, shipped};
use serde_json::{Value, json};

fn older() -> Specification {
    parse("older.c", include_str!("texts/older.c")).specifications.remove(0).specification
}

#[test]
fn json_has_the_shape_and_the_numbers_of_the_kernels_tool() {
    let value: Value = serde_json::from_str(&render(&older(), Format::Json)).unwrap();
    let details = &value["api_details"];
    assert_eq!(details["name"], "sys_frobnicate");
    assert_eq!(details["context_flags"], json!(["KAPI_CTX_PROCESS", "KAPI_CTX_SLEEPABLE"]));
    assert_eq!(
        details["parameters"][0],
        json!({
            "index": 0, "name": "fd", "type_name": "fd", "description": "The device", "flags": 1,
            "param_type": 9, "constraint_type": 1, "min_value": 0, "max_value": 2_147_483_647,
            "constraint": "Has to be a device; error: is prose in this line.",
        })
    );
    assert_eq!(details["parameters"][2]["flags"], 1 | 64 | 8);
    assert_eq!(
        details["errors"][0],
        json!({
            "error_code": -22, "name": "EINVAL", "condition": "There is no such knob",
            "description": "Only some devices have more than two.",
        })
    );
    // What is no error has no number.
    assert_eq!(details["errors"][2].get("error_code"), None);
    assert_eq!(details["return_spec"]["error_values"], json!([-22, -5]));
    assert_eq!(details["return_spec"]["check_type"], 2);
    assert_eq!(details["locks"][0]["lock_type"], 1);
    assert_eq!(details["signals"][0]["error_on_signal"], -4);
    assert_eq!(details["side_effects"][0]["effect_type"], (1 << 10) | (1 << 2));
    assert_eq!(details["state_transitions"][0]["to_state"], "bright");
    assert_eq!(details["capabilities"][0]["capability"], 17);
    assert_eq!(details["constraints"][0]["expression"], "users == 1");
    // What is not there is left out.
    assert!(details.get("signal_masks").is_none() && details.get("struct_specs").is_none());
}

#[test]
fn the_list_has_names_and_kinds() {
    let list = print::json_list(&shipped());
    assert_eq!(list["apis"][0], json!({"name": "sys_io_setup", "api_type": "syscall"}));
    assert_eq!(list["apis"].as_array().unwrap().len(), shipped().len());
}

#[test]
fn every_statement_and_each_of_its_parts_is_in_every_text_for_people() {
    for spec in shipped().into_iter().chain([older()]) {
        for format in [Format::Plain, Format::Markdown, Format::Rst] {
            let text = render(&spec, format);
            let bare = |text: &str| {
                text.chars().filter(|c| !c.is_whitespace() && *c != '\\').collect::<String>()
            };
            let all = bare(&text);
            for statement in spec.statements() {
                for part in statement.text.split("; ") {
                    assert!(all.contains(&bare(part)), "{format:?} {}: {part}", statement.id);
                }
                if statement.common.id.is_some() {
                    assert!(all.contains(&bare(&statement.id)), "{format:?} {}", statement.id);
                }
            }
            for text in [&spec.long, &spec.notes].into_iter().flatten() {
                let first = text.split_whitespace().take(4).collect::<String>();
                assert!(all.contains(&bare(&first)), "{format:?} {}", spec.name);
            }
        }
    }
}

#[test]
fn markup_inside_of_a_text_is_escaped() {
    let text = "sys_f - *F* <b>\ncontexts: process\nerror: EINVAL, a_b | `c` [d]\n";
    let spec = parse("t", text).specifications.remove(0).specification;
    let markdown = render(&spec, Format::Markdown);
    assert!(
        markdown.contains(r"\*F\* \<b\>") && markdown.contains(r"a\_b \| \`c\` \[d\]"),
        "{markdown}"
    );
    let rst = render(&spec, Format::Rst);
    assert!(rst.contains(r"\*F\* \<b\>") && rst.contains(r"a\_b \| \`c\`"), "{rst}");
}

#[test]
fn both_generations_can_be_printed() {
    let spec = older();
    let short = print::text(&spec, Generation::Short);
    assert!(short.contains("contexts: process, sleepable\n"));
    assert!(short.contains("  type: path, input, user, optional\n"));
    assert!(short.contains("  constraint-type: range(0, INT_MAX)\n"));
    let constants = print::text(&spec, Generation::Constants);
    assert!(constants.contains("context-flags: KAPI_CTX_PROCESS | KAPI_CTX_SLEEPABLE\n"));
    assert!(constants.contains("  flags: KAPI_PARAM_IN | KAPI_PARAM_USER | KAPI_PARAM_OPTIONAL\n"));
    assert!(constants.contains("  range: 0, INT_MAX\n"));
    let comment = print::comment(&spec, Generation::Short);
    assert!(comment.starts_with("/**\n * sys_frobnicate - Turns the knob of a device\n"));
    assert!(comment.ends_with("\n */\n"));
}

#[test]
fn a_format_is_asked_for_by_its_name() {
    for (name, format) in Format::ALL {
        assert_eq!(name.parse::<Format>(), Ok(*format));
    }
    assert!("xml".parse::<Format>().unwrap_err().contains("plain, json"));
}
