//! What changed between two descriptors that somebody's client could not live with: on the wire, in JSON or in the code that is generated.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// What a contract declares, by full name.
#[derive(Default)]
struct Contract<'a> {
    packages: BTreeSet<&'a str>,
    messages: BTreeMap<String, &'a DescriptorProto>,
    enums: BTreeMap<String, &'a EnumDescriptorProto>,
    services: BTreeMap<String, BTreeMap<&'a str, &'a MethodDescriptorProto>>,
}

impl<'a> Contract<'a> {
    fn read(set: &'a FileDescriptorSet) -> Self {
        let mut contract = Self::default();
        // Protobuf's own files come along when something uses them, and are not ours to change.
        for file in set.file.iter().filter(|file| !file.name().starts_with("google/protobuf/")) {
            contract.add(file);
        }
        contract
    }

    fn add(&mut self, file: &'a FileDescriptorProto) {
        let package = file.package();
        self.packages.insert(package);
        file.message_type.iter().for_each(|message| self.add_message(package, message));
        self.enums.extend(file.enum_type.iter().map(|found| (format!("{package}.{}", found.name()), found)));
        for service in &file.service {
            let methods = service.method.iter().map(|method| (method.name(), method)).collect();
            self.services.insert(format!("{package}.{}", service.name()), methods);
        }
    }

    fn add_message(&mut self, outer: &str, message: &'a DescriptorProto) {
        let name = format!("{outer}.{}", message.name());
        self.enums.extend(message.enum_type.iter().map(|found| (format!("{name}.{}", found.name()), found)));
        message.nested_type.iter().for_each(|nested| self.add_message(&name, nested));
        self.messages.insert(name, message);
    }
}

/// One sentence for each change that breaks somebody. Additions break nobody.
pub(crate) fn breaking_changes(old: &FileDescriptorSet, new: &FileDescriptorSet) -> Vec<String> {
    let (old, new) = (Contract::read(old), Contract::read(new));
    let gone: Vec<_> = old.packages.difference(&new.packages).collect();
    if !gone.is_empty() {
        return gone.into_iter().map(|package| format!("package {package} is gone")).collect();
    }
    let mut found = Vec::new();
    for (name, methods) in &old.services {
        match new.services.get(name) {
            Some(after) => methods_changed(name, methods, after, &mut found),
            None => found.push(format!("service {name} is gone")),
        }
    }
    for (name, message) in &old.messages {
        match new.messages.get(name) {
            Some(after) => message_changed(name, message, after, &mut found),
            None => found.push(format!("message {name} is gone")),
        }
    }
    for (name, before) in &old.enums {
        match new.enums.get(name) {
            Some(after) => enum_changed(name, before, after, &mut found),
            None => found.push(format!("enum {name} is gone")),
        }
    }
    found
}

type Methods<'a> = BTreeMap<&'a str, &'a MethodDescriptorProto>;

fn methods_changed(service: &str, old: &Methods<'_>, new: &Methods<'_>, found: &mut Vec<String>) {
    for (name, before) in old {
        let Some(after) = new.get(name) else {
            found.push(format!("rpc {service}.{name} is gone"));
            continue;
        };
        let of = |method: &MethodDescriptorProto| {
            let message = |streams: bool, name: &str| format!("{}{}", if streams { "stream " } else { "" }, &name[1..]);
            [
                ("takes", message(method.client_streaming(), method.input_type())),
                ("returns", message(method.server_streaming(), method.output_type())),
            ]
        };
        for ((what, before), (_, after)) in of(before).into_iter().zip(of(after)) {
            if before != after {
                found.push(format!("rpc {service}.{name} {what} `{after}`, it was `{before}`"));
            }
        }
    }
}

fn message_changed(name: &str, old: &DescriptorProto, new: &DescriptorProto, found: &mut Vec<String>) {
    let numbers = |message: &DescriptorProto| -> Numbers {
        Numbers {
            names: message.field.iter().map(|field| (field.number(), field.name().to_owned())).collect(),
            // Here the end is the first that is free again.
            reserved: message.reserved_range.iter().map(|range| (range.start(), range.end() - 1)).collect(),
        }
    };
    numbers(old).changed(("field", name), &numbers(new), found);
    for before in &old.field {
        let same = |after: &&FieldDescriptorProto| (after.number(), after.name()) == (before.number(), before.name());
        let Some(after) = new.field.iter().find(same) else { continue };
        for ((what, before_text), (_, after_text)) in shape(old, before).into_iter().zip(shape(new, after)) {
            if before_text != after_text {
                let field = before.name();
                found.push(format!("field {name}.{field} has {what} `{after_text}`, it had `{before_text}`"));
            }
        }
    }
}

/// What a field is, besides its name and number.
fn shape(message: &DescriptorProto, field: &FieldDescriptorProto) -> [(&'static str, String); 4] {
    let kind = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => field.type_name().trim_start_matches('.').to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    let label = match field.label() {
        Label::Repeated => "repeated",
        Label::Required => "required",
        Label::Optional if field.proto3_optional() => "optional",
        Label::Optional => "none",
    };
    // `optional` is a oneof of its own to the compiler.
    let index = field.oneof_index.filter(|_| !field.proto3_optional());
    let oneof = index.and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?));
    let oneof = oneof.map_or("none", |oneof| oneof.name());
    [
        ("type", kind),
        ("label", label.to_owned()),
        ("oneof", oneof.to_owned()),
        ("JSON name", field.json_name().to_owned()),
    ]
}

fn enum_changed(name: &str, old: &EnumDescriptorProto, new: &EnumDescriptorProto, found: &mut Vec<String>) {
    let numbers = |message: &EnumDescriptorProto| -> Numbers {
        Numbers {
            names: message.value.iter().map(|value| (value.number(), value.name().to_owned())).collect(),
            reserved: message.reserved_range.iter().map(|range| (range.start(), range.end())).collect(),
        }
    };
    numbers(old).changed(("value", name), &numbers(new), found);
}

/// The numbers of a message's fields, or of an enum's values.
struct Numbers {
    names: BTreeMap<i32, String>,
    /// First and last of each range.
    reserved: Vec<(i32, i32)>,
}

impl Numbers {
    fn is_reserved(&self, number: i32) -> bool {
        self.reserved.iter().any(|&(first, last)| (first..=last).contains(&number))
    }

    fn changed(&self, (what, outer): (&str, &str), new: &Self, found: &mut Vec<String>) {
        for (number, name) in &self.names {
            let elsewhere = new.names.iter().find(|(_, other)| *other == name).map(|(number, _)| number);
            match (new.names.get(number), elsewhere) {
                (Some(same), _) if same == name => continue,
                (_, Some(other)) => found.push(format!("{what} {outer}.{name} has number {other}, it had {number}")),
                (Some(other), None) => found.push(format!("{what} {outer}.{name} is called {other} now")),
                (None, None) => found.push(format!("{what} {outer}.{name} is gone")),
            }
            if !new.names.contains_key(number) && !new.is_reserved(*number) {
                found.push(format!("{outer} uses number {number} no more: reserve it, or it will mean something else"));
            }
        }
        for &(first, last) in &self.reserved {
            let covered = new.reserved.iter().any(|&(from, to)| from <= first && last <= to);
            if !covered {
                found.push(format!("{outer} reserves {first} to {last} no more"));
            }
        }
    }
}
