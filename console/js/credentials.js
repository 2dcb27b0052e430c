// The provider credentials by their names in the contract. Owns what each is called; the values are
// never here.

export const CREDENTIALS = [
  ["ANTHROPIC_API_KEY", "Anthropic API key", "sk-ant-…"],
  ["CLAUDE_CODE_OAUTH_TOKEN", "Claude Code OAuth token", "sk-ant-oat…"],
  ["OPENAI_API_KEY", "OpenAI API key", "sk-…"],
  ["GEMINI_API_KEY", "Google Gemini API key", "AIza…"],
  ["OPENROUTER_API_KEY", "OpenRouter API key", "sk-or-…"],
  ["XAI_API_KEY", "xAI API key", "xai-…"],
  ["GROQ_API_KEY", "Groq API key", "gsk_…"],
  ["MISTRAL_API_KEY", "Mistral API key", ""],
];

/** What a variable is called. */
export function titleOf(variable) {
  return CREDENTIALS.find(([name]) => name === variable)?.[1] ?? variable;
}
