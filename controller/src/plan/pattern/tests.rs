//! Rules of 10.2 of the reference, and Go's own answers, see e2e/oracle.

use super::*;
use crate::api::artifact_generator::CopyOperation;

/// A pattern that is looked for in a source with alias `repo`; what is wrong with it, or its path and captures.
fn parsed(text: &str) -> String {
    match PathPattern::parse(text, |alias| alias == "repo") {
        Ok(pattern) => format!("{} ({})", pattern.path(), pattern.captures.join(" ")),
        Err(error) => error.to_string(),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn patterns() {
    let long = "a".repeat(63);
    let bad = |name: &str, what: &str| format!("pathPattern \"@repo/{name}\": {what}");
    let syntax = "must be a valid capture name matching [A-Za-z_][A-Za-z0-9_]*";
    let characters = "name part must consist of alphanumeric characters";
    // (row, pattern, start of what becomes of it)
    let rows: Vec<(&str, String, String)> = vec![
        ("one capture", "@repo/apps/{app}".into(), "apps/{app} (app)".into()),
        ("captures in order", "@repo/{b}/x/{a}".into(), "{b}/x/{a} (b a)".into()),
        ("several in a segment", "@repo/{a}-{b}".into(), "{a}-{b} (a b)".into()),
        ("no capture at all", "@repo/apps/auth".into(), "apps/auth ()".into()),
        ("everything else is literal", "@repo/a.b/*/[c]/{d}".into(), "a.b/*/[c]/{d} (d)".into()),
        ("empty path", "@repo/".into(), " ()".into()),
        ("trailing slash", "@repo/{app}/".into(), "{app}/ (app)".into()),
        ("split at the first slash", "@repo//{app}".into(), "/{app} (app)".into()),
        ("form: no slash", "@repo".into(), "invalid pathPattern format: @repo".into()),
        ("form: no @", "repo/apps/{app}".into(), "invalid pathPattern format: repo/apps/{app}".into()),
        ("form: empty", String::new(), "invalid pathPattern format: ".into()),
        (
            "alias of no source",
            "@other/{app}".into(),
            "pathPattern \"@other/{app}\": source alias other not found in local sources".into(),
        ),
        (
            "alias comes before syntax",
            "@other/{".into(),
            "pathPattern \"@other/{\": source alias other not found in local sources".into(),
        ),
        ("empty alias", "@/{app}".into(), "pathPattern \"@/{app}\": source alias  not found in local sources".into()),
        (
            "open brace, offset behind the alias",
            "@repo/apps/{app".into(),
            bad("apps/{app", "invalid capture starting at offset 5: missing closing brace"),
        ),
        (
            "offset in bytes",
            "@repo/é{".into(),
            bad("é{", "invalid capture starting at offset 2: missing closing brace"),
        ),
        ("empty name", "@repo/{}".into(), bad("{}", "empty capture variable")),
        ("name with a dash", "@repo/{a-b}".into(), bad("{a-b}", &format!("capture variable \"a-b\" {syntax}"))),
        ("name with a digit first", "@repo/{1a}".into(), bad("{1a}", &format!("capture variable \"1a\" {syntax}"))),
        ("name over a slash", "@repo/{a/b}".into(), bad("{a/b}", &format!("capture variable \"a/b\" {syntax}"))),
        ("name that is no ASCII", "@repo/{é}".into(), bad("{é}", &format!("capture variable \"é\" {syntax}"))),
        ("brace in a name", "@repo/{{a}}".into(), bad("{{a}}", &format!("capture variable \"{{a\" {syntax}"))),
        ("name twice", "@repo/{a}/{a}".into(), bad("{a}/{a}", "duplicate capture variable \"a\"")),
        ("names differ by case", "@repo/{a}/{A}".into(), "{a}/{A} (a A)".into()),
        ("closing brace", "@repo/a}".into(), bad("a}", "invalid capture ending at offset 1: missing opening brace")),
        ("first error wins", "@repo/{}{".into(), bad("{}{", "empty capture variable")),
        (
            "label key: _ in front",
            "@repo/{_app}".into(),
            bad("{_app}", &format!("capture variable \"_app\" is not a valid Kubernetes label key: {characters}")),
        ),
        (
            "label key: _ at the end",
            "@repo/{ok}/{app_}".into(),
            bad("{ok}/{app_}", &format!("capture variable \"app_\" is not a valid Kubernetes label key: {characters}")),
        ),
        ("label key: _ inside", "@repo/{app_name}".into(), "{app_name} (app_name)".into()),
        ("label key: longest", format!("@repo/{{{long}}}"), format!("{{{long}}} ({long})")),
        (
            "label key: too long",
            format!("@repo/{{{long}a}}"),
            bad(
                &format!("{{{long}a}}"),
                &format!(
                    "capture variable \"{long}a\" is not a valid Kubernetes label key: name part must be no more than 63"
                ),
            ),
        ),
        (
            "syntax comes before label keys",
            "@repo/{_a}/{".into(),
            bad("{_a}/{", "invalid capture starting at offset 5: missing closing brace"),
        ),
    ];
    for (row, pattern, start) in rows {
        let found = parsed(&pattern);
        let fits = if start.contains("is not a valid Kubernetes") { found.starts_with(&start) } else { found == start };
        assert!(fits, "§10.2 {row}: {found}");
    }
}

/// `name from to`, the fields of an artifact that are templates.
fn template(text: &str) -> OutputArtifact {
    let mut parts = text.split(' ').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    let (name, from, to) = (part(), part(), part());
    OutputArtifact { name, copy: vec![CopyOperation { from, to, ..Default::default() }], ..Default::default() }
}

/// `path name=value,name=value`.
fn directory(text: &str) -> Directory {
    let (path, captures) = text.split_once(' ').unwrap_or((text, ""));
    let pairs = captures.split(',').filter_map(|pair| pair.split_once('='));
    Directory { path: path.into(), captures: pairs.map(|(name, value)| (name.into(), value.into())).collect() }
}

/// What a pattern makes of templates and directories: `name from to label=value`, or the error without the pattern.
fn expanded(templates: &[&str], directories: &[&str]) -> String {
    let pattern = PathPattern::parse("@repo/apps/{app}", |_| true).unwrap();
    let templates: Vec<_> = templates.iter().map(|text| template(text)).collect();
    let directories: Vec<_> = directories.iter().map(|text| directory(text)).collect();
    let show = |rendered: &Rendered| {
        let OutputArtifact { name, copy, .. } = &rendered.artifact;
        let labels: Vec<_> = rendered.captures.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!("{name} {} {} {}", copy[0].from, copy[0].to, labels.join(","))
    };
    match pattern.expand(&templates, &directories) {
        Ok(all) => all.iter().map(show).collect::<Vec<_>>().join("; "),
        Err(error) => {
            let text = error.to_string();
            text.strip_prefix("pathPattern \"@repo/apps/{app}\": ").unwrap_or_else(|| panic!("{text}")).to_owned()
        }
    }
}

#[test]
fn expansions() {
    let long = "a".repeat(64);
    let long_path = format!("apps/x app={long}");
    let names = ["b".repeat(190), "c".repeat(250)];
    let [fits, too_long] = names.each_ref().map(|name| format!("{name}-{{app}} @r/ @artifact/"));
    let all = "{app} @r/{app}/** @artifact/{app}/";
    let value = "is not a valid Kubernetes label value: a valid label must be an empty string or consist of";
    let object = "is not a valid Kubernetes object name: a lowercase RFC 1123 subdomain must consist of";
    let render =
        |template: &str, directory: &str| format!("failed to render artifact {template} for match {directory}: ");
    let syntax = "must be a valid capture name matching [A-Za-z_][A-Za-z0-9_]*";
    // (row, templates, directories, start of what becomes of it)
    type Row<'a> = (&'a str, Vec<&'a str>, Vec<&'a str>, String);
    let rows: Vec<Row<'_>> = vec![
        ("no directory, no artifact", vec![all], vec![], String::new()),
        ("one of each", vec![all], vec!["apps/web app=web"], "web @r/web/** @artifact/web/ app=web".into()),
        (
            "directory by directory, in their order",
            vec![all],
            vec!["apps/b app=b", "apps/a app=a"],
            "b @r/b/** @artifact/b/ app=b; a @r/a/** @artifact/a/ app=a".into(),
        ),
        (
            "templates in their order within a directory",
            vec!["z-{app} @r/ @artifact/", "a-{app} @r/ @artifact/"],
            vec!["apps/b app=b", "apps/a app=a"],
            "z-b @r/ @artifact/ app=b; a-b @r/ @artifact/ app=b; z-a @r/ @artifact/ app=a; a-a @r/ @artifact/ app=a"
                .into(),
        ),
        (
            "names and labels in lower case, paths as they are",
            vec![all],
            vec!["apps/Auth app=Auth"],
            "auth @r/Auth/** @artifact/Auth/ app=auth".into(),
        ),
        (
            "lower case by Unicode: Kelvin",
            vec!["{app} @r/{app} x"],
            vec!["apps/\u{212a} app=\u{212a}"],
            "k @r/\u{212a} x app=k".into(),
        ),
        ("lower case by Unicode: dotted I", vec!["{app} @r/{app} x"], vec!["apps/İ app=İ"], "i @r/İ x app=i".into()),
        (
            "a capture used several times, or not at all",
            vec!["{app}-{app} @r/{app}/{app} @artifact/"],
            vec!["apps/w app=w,env=dev"],
            "w-w @r/w/w @artifact/ app=w,env=dev".into(),
        ),
        (
            "two captures",
            vec!["{env}-{app} @r/{app}/{env} @artifact/{env}"],
            vec!["a/w/dev app=w,env=dev"],
            "dev-w @r/w/dev @artifact/dev app=w,env=dev".into(),
        ),
        ("a value is no template", vec!["x @r/{app} y"], vec!["apps/a app=a"], "x @r/a y app=a".into()),
        ("no captures, no labels", vec!["fix @r/ x"], vec!["apps/auth"], "fix @r/ x ".into()),
        ("names may have dots", vec!["{app} @r/ x"], vec!["apps/a.b app=a.b"], "a.b @r/ x app=a.b".into()),
        ("label value: longest", vec![&fits], vec!["apps/x app=a"], format!("{}-a @r/ @artifact/ app=a", names[0])),
        (
            "label value: too long",
            vec![all],
            vec![&long_path],
            format!(
                "captured value \"{long}\" for variable \"app\" is not a valid Kubernetes label value: must be no more than 63"
            ),
        ),
        (
            "label value: - in front",
            vec![all],
            vec!["apps/-a app=-a"],
            format!("captured value \"-a\" for variable \"app\" {value}"),
        ),
        (
            "label value: . at the end",
            vec![all],
            vec!["apps/a. app=a."],
            format!("captured value \"a.\" for variable \"app\" {value}"),
        ),
        (
            "label value: +",
            vec![all],
            vec!["apps/a+b app=a+b"],
            format!("captured value \"a+b\" for variable \"app\" {value}"),
        ),
        (
            "label value: shown in lower case",
            vec![all],
            vec!["apps/É app=É"],
            format!("captured value \"é\" for variable \"app\" {value}"),
        ),
        (
            "label value: a dot file",
            vec![all],
            vec!["apps/.git app=.git"],
            format!("captured value \".git\" for variable \"app\" {value}"),
        ),
        (
            "label value: by name when several are wrong",
            vec![all],
            vec!["apps/x b=-,a=_"],
            format!("captured value \"_\" for variable \"a\" {value}"),
        ),
        (
            "one bad directory fails all",
            vec![all],
            vec!["apps/good app=good", "apps/_ app=_"],
            format!("captured value \"_\" for variable \"app\" {value}"),
        ),
        (
            "label values come before templates",
            vec!["{ @r/ x"],
            vec!["apps/_ app=_"],
            format!("captured value \"_\" for variable \"app\" {value}"),
        ),
        ("no template is looked at without a directory", vec!["{ @r/ x"], vec![], String::new()),
        (
            "template: open brace in the name",
            vec!["x-{app @r/ x"],
            vec!["apps/a app=a"],
            render("x-{app", "apps/a")
                + "invalid template \"x-{app\": capture starting at offset 2 is missing closing brace",
        ),
        (
            "template: open brace in from",
            vec!["x @r/{app x"],
            vec!["apps/a app=a"],
            render("x", "apps/a")
                + "invalid template \"@r/{app\": capture starting at offset 3 is missing closing brace",
        ),
        (
            "template: closing brace in to",
            vec!["x @r/ @artifact/a}"],
            vec!["apps/a app=a"],
            render("x", "apps/a")
                + "invalid template \"@artifact/a}\": capture ending at offset 11 is missing opening brace",
        ),
        (
            "template: empty capture",
            vec!["{} @r/ x"],
            vec!["apps/a app=a"],
            render("{}", "apps/a") + "invalid template \"{}\": empty capture variable",
        ),
        (
            "template: alternatives of a glob are no capture",
            vec!["x @r/{a,b} x"],
            vec!["apps/a app=a"],
            render("x", "apps/a") + &format!("invalid template \"@r/{{a,b}}\": capture variable \"a,b\" {syntax}"),
        ),
        (
            "template: capture that the pattern has not",
            vec!["{app}-{env} @r/ x"],
            vec!["apps/a app=a"],
            render("{app}-{env}", "apps/a")
                + "invalid template \"{app}-{env}\": capture variable \"env\" is not defined by pathPattern",
        ),
        (
            "template: captures differ by case",
            vec!["{App} @r/ x"],
            vec!["apps/a app=a"],
            render("{App}", "apps/a")
                + "invalid template \"{App}\": capture variable \"App\" is not defined by pathPattern",
        ),
        (
            "template: the name comes before copies",
            vec!["{x} @r/{ x"],
            vec!["apps/a app=a"],
            render("{x}", "apps/a") + "invalid template \"{x}\": capture variable \"x\" is not defined by pathPattern",
        ),
        (
            "object name: _ is fine in labels only",
            vec![all],
            vec!["apps/a_b app=a_b"],
            format!("rendered artifact name \"a_b\" {object}"),
        ),
        (
            "object name: literal text in upper case",
            vec!["X-{app} @r/ x"],
            vec!["apps/a app=a"],
            format!("rendered artifact name \"X-a\" {object}"),
        ),
        (
            "object name: two dots",
            vec!["{app}.. @r/ x"],
            vec!["apps/a app=a"],
            format!("rendered artifact name \"a..\" {object}"),
        ),
        (
            "object name: too long",
            vec![&too_long],
            vec!["apps/abc app=abc"],
            format!(
                "rendered artifact name \"{}-abc\" is not a valid Kubernetes object name: must be no more than 253",
                names[1]
            ),
        ),
        (
            "collision by case",
            vec![all],
            vec!["apps/Auth app=Auth", "apps/auth app=auth"],
            "directories \"apps/Auth\" and \"apps/auth\" both resolve to artifact name \"auth\"".into(),
        ),
        (
            "collision within a directory",
            vec![all, "{env} @r/ x"],
            vec!["a/x/x app=x,env=x"],
            "directories \"a/x/x\" and \"a/x/x\" both resolve to artifact name \"x\"".into(),
        ),
        (
            "a name without captures fits one directory",
            vec!["fix @r/{app} x"],
            vec!["apps/a app=a", "apps/b app=b"],
            "directories \"apps/a\" and \"apps/b\" both resolve to artifact name \"fix\"".into(),
        ),
        (
            "the first collision in order",
            vec![all],
            vec!["apps/a app=a", "apps/b app=b", "apps/B app=B", "apps/A app=A"],
            "directories \"apps/b\" and \"apps/B\" both resolve to artifact name \"b\"".into(),
        ),
        (
            "names that another capture tells apart",
            vec!["{app}-{env} @r/ x"],
            vec!["a/x/d app=x,env=d", "a/x/p app=x,env=p"],
            "x-d @r/ x app=x,env=d; x-p @r/ x app=x,env=p".into(),
        ),
    ];
    assert!(rows.len() >= 36, "{}", rows.len());
    for (row, templates, directories, start) in rows {
        let found = expanded(&templates, &directories);
        // Errors that end in Kubernetes' own words are compared up to there; those are compared with Go's below.
        let fits = if start.contains("is not a valid Kubernetes") { found.starts_with(&start) } else { found == start };
        assert!(fits, "§10.2 {row}: {found}");
    }
}

#[test]
fn only_three_fields_are_templates() {
    let mut template = template("{app} @r/{app} @artifact/{app}");
    (template.revision, template.origin_revision) = ("@{app}".into(), "@{app}".into());
    template.copy[0].exclude = vec!["{app}/{a,b}".into()];
    template.copy[0].strategy = "{app}".into();
    let pattern = PathPattern::parse("@repo/{app}", |_| true).unwrap();
    let rendered = pattern.expand(&[template.clone()], &[directory("Web app=Web")]).unwrap();
    template.name = "web".into();
    (template.copy[0].from, template.copy[0].to) = ("@r/Web".into(), "@artifact/Web".into());
    assert_eq!(rendered[0].artifact, template, "§10.2");
}

fn unquote(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts.filter(|part| !part.is_empty()) {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn kubernetes_takes_and_says_the_same_in_go() {
    let mut answers = 0;
    for line in include_str!("vectors/labels.txt").lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = line.split(' ').collect();
        let [question, text, answer] = parts[..] else { panic!("{line}") };
        let text = unquote(text);
        let verdict = |found: Result<(), String>| found.map_or_else(|why| format!("!{why}"), |()| "+".to_owned());
        let found = match question {
            "lower" => label::lower(&text),
            "quote" => weir_proto::quoted(&text),
            "value" => verdict(label::value(&text)),
            "key" => verdict(label::key(&text)),
            "name" => verdict(name_is_valid(&text)),
            other => panic!("{other}"),
        };
        assert_eq!(found, unquote(answer), "{question} {text:?}");
        answers += 1;
    }
    assert!(answers > 800, "{answers}");
}
