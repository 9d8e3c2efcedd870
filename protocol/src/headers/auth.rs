//! The headers of users and access rules: codes 3001 to 3010.

use crate::header::Text;

custom_headers! {
    pub struct CreateUserRequestHeader<'a> {
        pub username: Option<Text<'a>> = "username",
    }

    pub struct UpdateUserRequestHeader<'a> {
        pub username: Option<Text<'a>> = "username",
    }

    pub struct DeleteUserRequestHeader<'a> {
        pub username: Option<Text<'a>> = "username",
    }

    pub struct GetUserRequestHeader<'a> {
        pub username: Option<Text<'a>> = "username",
    }

    pub struct ListUsersRequestHeader<'a> {
        pub filter: Option<Text<'a>> = "filter",
    }

    pub struct CreateAclRequestHeader<'a> {
        pub subject: Option<Text<'a>> = "subject",
    }

    pub struct UpdateAclRequestHeader<'a> {
        pub subject: Option<Text<'a>> = "subject",
    }

    pub struct DeleteAclRequestHeader<'a> {
        pub subject: Option<Text<'a>> = "subject",
        pub policy_type: Option<Text<'a>> = "policyType",
        pub resource: Option<Text<'a>> = "resource",
    }

    pub struct GetAclRequestHeader<'a> {
        pub subject: Option<Text<'a>> = "subject",
    }

    pub struct ListAclsRequestHeader<'a> {
        pub subject_filter: Option<Text<'a>> = "subjectFilter",
        pub resource_filter: Option<Text<'a>> = "resourceFilter",
    }
}
