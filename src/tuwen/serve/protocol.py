"""OpenAI's chat completions as types. Every field is honoured; one that could not be takes its neutral value alone.

``null`` means the same as leaving a field out. What is not declared here is refused by its name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

FinishReason = Literal["stop", "length"]
Nothing = Annotated[list[Any], Field(max_length=0)]
NoValues = Annotated[dict[str, Any], Field(max_length=0)]
StopText = Annotated[str, Field(min_length=1, max_length=256)]
TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]


class Wire(BaseModel):
    """Base of all that comes from a client: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _branch(**kinds: str) -> Discriminator:
    """Tells branches of a union apart by the kind of JSON value, so that a message names what is wrong in one alone."""

    def choose(value: Any) -> str:
        kind = "object" if isinstance(value, dict | BaseModel) else "array" if isinstance(value, list) else "other"
        return kinds.get(kind, kinds["other"])

    return Discriminator(choose)


class TextPart(Wire):
    """Text, taken literally."""

    type: Literal["text"]
    text: str


class ImageUrl(Wire):
    """Where a picture is."""

    url: str = Field(description="`data:image/…;base64,…`; an http or https URL where the server allows its host.")
    detail: Literal["auto"] | None = None


class PicturePart(Wire):
    """A picture, at its place among the texts."""

    type: Literal["image_url"]
    image_url: Annotated[
        Annotated[str, Tag("(url)")] | Annotated[ImageUrl, Tag("(object)")], _branch(object="(object)", other="(url)")
    ]


def _kind_of_part(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "(picture)" if kind == "image_url" else "(text)"


Part = Annotated[
    Annotated[TextPart, Tag("(text)")] | Annotated[PicturePart, Tag("(picture)")], Discriminator(_kind_of_part)
]
Content = Annotated[
    Annotated[str, Tag("(string)")] | Annotated[list[Part], Field(min_length=1), Tag("(parts)")],
    _branch(array="(parts)", other="(string)"),
]


class ChatMessage(Wire):
    """One turn. The last five fields are there because clients send earlier answers back as they got them."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    name: None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: Nothing | None = None
    annotations: Nothing | None = None


class StreamOptions(Wire):
    """What a stream tells beside the answer."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class JsonSchema(Wire):
    """A schema that the answer shall fit."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = Field(default=None, description="The answer fits the schema, whatever is said here.")


class TextFormat(Wire):
    """Answers are free text."""

    type: Literal["text"]


class JsonFormat(Wire):
    """The answer is some JSON object."""

    type: Literal["json_object"]


class SchemaFormat(Wire):
    """The answer is JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


def _kind_of_format(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"({kind})" if kind in ("json_object", "json_schema") else "(text)"


ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("(text)")]
    | Annotated[JsonFormat, Tag("(json_object)")]
    | Annotated[SchemaFormat, Tag("(json_schema)")],
    Discriminator(_kind_of_format),
]
Stop = Annotated[
    Annotated[StopText, Tag("(text)")] | Annotated[list[StopText], Field(min_length=1, max_length=4), Tag("(texts)")],
    _branch(array="(texts)", other="(text)"),
]


class ChatRequest(Wire):
    """The body of a request for chat completions."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1, description="The older name of `max_completion_tokens`.")
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    n: int | None = Field(default=None, ge=1, le=128)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    logit_bias: dict[TokenId, Bias] | None = Field(default=None, max_length=1024)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    response_format: ResponseFormat | None = None
    ignore_eos: bool | None = None
    user: str | None = Field(default=None, description="Whose request it is; neither kept nor written down.")
    skip_special_tokens: Literal[True] | None = None
    modalities: list[Literal["text"]] | None = None
    service_tier: Literal["auto"] | None = None
    store: Literal[False] | None = None
    metadata: NoValues | None = None
    tools: Nothing | None = None
    tool_choice: Literal["none"] | None = None


class TopLogprob(BaseModel):
    """A token that was likely, too."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """A token of the answer."""

    top_logprobs: list[TopLogprob]


class Logprobs(BaseModel):
    """Tokens of an answer, or of a piece of it."""

    content: list[TokenLogprob]
    refusal: None = None


class AnswerMessage(BaseModel):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """One answer."""

    index: int
    message: AnswerMessage
    logprobs: Logprobs | None
    finish_reason: FinishReason


class PromptTokensDetails(BaseModel):
    """Of a prompt's tokens, those that stand for pictures, and those that were known from before."""

    cached_tokens: int
    image_tokens: int


class Usage(BaseModel):
    """Tokens of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class ChatCompletion(BaseModel):
    """An answer that is given as a whole."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class ModelCard(BaseModel):
    """A model that can be asked."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "tuwen"


class ModelList(BaseModel):
    """All models that can be asked."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Version(BaseModel):
    """Of Tuwen."""

    version: str


class Health(BaseModel):
    """How the server is."""

    status: Literal["ok"]
